package wgconf

import (
	"strings"
)

// KeptOnNode stands for a PrivateKey that only the node has. Its agent replaces it with the key;
// the tools refuse it.
const KeptOnNode = "(kept on the node)"

// keptName begins the comment after [KeptOnNode] that names the public key.
const keptName = "public key: "

// KeptAs returns the value of PrivateKey in a text for a node that keeps its key. A public key, if it
// is known, says which of its keys the node has to use: it may have prepared a new one.
func KeptAs(public string) string {
	if public == "" {
		return KeptOnNode
	}
	return KeptOnNode + " # " + keptName + public
}

// Kept reports whether the text leaves the private key to the node, and the public key that it names,
// "" if it names none.
func Kept(text string) (kept bool, public string) {
	for line := range strings.Lines(text) {
		if named, ok := keptIn(line); ok {
			return true, named
		}
	}
	return false, ""
}

// PutKey returns the text with the private key in place of [KeptOnNode].
func PutKey(text, private string) string {
	var b strings.Builder
	b.Grow(len(text) + len(private))
	for line := range strings.Lines(text) {
		if _, ok := keptIn(line); ok {
			end := line[len(strings.TrimRight(line, "\r\n")):]
			line = "PrivateKey = " + private + end
		}
		b.WriteString(line)
	}
	return b.String()
}

// keptIn reports whether the line is a PrivateKey that is kept on the node, and the public key that it
// names.
func keptIn(line string) (public string, ok bool) {
	read, rest, _ := strings.Cut(line, "#")
	name, value, _ := strings.Cut(read, "=")
	if !strings.EqualFold(strings.TrimSpace(name), "PrivateKey") || squeeze(strings.TrimSpace(value)) != KeptOnNode {
		return "", false
	}
	return keptKey(rest), true
}

// keptKey returns the public key that a comment names, "" if it names none.
func keptKey(comment string) string {
	key, found := strings.CutPrefix(strings.TrimSpace(comment), keptName)
	if !found {
		return ""
	}
	if raw, err := decodeKey(key); err != nil || isZero(raw) {
		return ""
	}
	return key
}
