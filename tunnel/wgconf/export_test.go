package wgconf

// WithTimeOf is c as it comes of a text that takes the quick tools so long.
func (c Config) WithTimeOf(text string) Config {
	c.quickTime = QuickTime(text)
	return c
}

// Join is join, for its own test.
var Join = join
