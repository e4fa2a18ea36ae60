package wgconf

func (c Config) slow() Warning { return Warning{} }
