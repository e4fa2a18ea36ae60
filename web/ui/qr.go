package ui

import (
	"fmt"
	"strings"

	"rsc.io/qr"
)

// maxQRText is the length of text, in bytes, up to which a phone can read the code from a screen.
const maxQRText = 1000

// QR returns text as a QR code in SVG, with the quiet zone around it. It is black on white in either
// theme, since scanners need that.
func QR(text string) (string, error) {
	if text == "" || len(text) > maxQRText {
		return "", fmt.Errorf("a QR code holds 1 to %d bytes", maxQRText)
	}
	return draw(text, qr.M)
}

// ConfigQR returns a tunnel config as a QR code, see [QR]. Its low level of error correction leaves
// room for the longest text.
func ConfigQR(text string) (string, error) { return draw(text, qr.L) }

func draw(text string, level qr.Level) (string, error) {
	code, err := qr.Encode(text, level)
	if err != nil {
		return "", fmt.Errorf("make a QR code: %w", err)
	}
	const quiet = 4
	var modules strings.Builder
	for y := range code.Size {
		for x := range code.Size {
			if code.Black(x, y) {
				fmt.Fprintf(&modules, "M%d %dh1v1h-1z", x+quiet, y+quiet)
			}
		}
	}
	side := code.Size + 2*quiet
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" shape-rendering="crispEdges">`+
		`<path fill="#fff" d="M0 0h%dv%dH0z"/><path fill="#000" d="%s"/></svg>`, side, side, side, side, modules.String()), nil
}
