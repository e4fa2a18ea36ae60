package wgconf

// WithTimeOf returns c with the quickTime of text.
func (c Config) WithTimeOf(text string) Config {
	c.quickTime = QuickTime(text)
	return c
}

// Join exports join for its test.
var Join = join
