package ui

import (
	"fmt"
	"strings"

	"rsc.io/qr"
)

// maxQRText is, in bytes, what still makes a code that a phone can read from a screen.
const maxQRText = 1000

// QR is text as a QR code in SVG, black on white whatever the page's colours are: scanners want it
// so. The quiet zone around it belongs to it.
func QR(text string) (string, error) {
	if text == "" || len(text) > maxQRText {
		return "", fmt.Errorf("a QR code holds 1 to %d bytes", maxQRText)
	}
	code, err := qr.Encode(text, qr.M)
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
