package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	cdpnet "github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"wfm/internal/apptest"
)

// screens are the sizes every page must work at.
var screens = []struct {
	name          string
	width, height int64
}{{"desktop", 1280, 800}, {"phone", 390, 844}}

// browser is a tab of a headless Chromium. At its end it fails the test for anything a page must
// never do: a script error, a breach of the Content-Security-Policy, a request to another host.
type browser struct {
	t      *testing.T
	ctx    context.Context
	origin string
	name   string // of the screenshots
	mu     sync.Mutex
	faults []string
}

// browsers holds a value per browser that runs. A third one would only slow the others down.
var browsers = make(chan struct{}, 2)

func openBrowser(t *testing.T, origin, name string, width, height int64) *browser {
	t.Helper()
	apptest.Need(t, "chromium")
	browsers <- struct{}{}
	t.Cleanup(func() { <-browsers })
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath("chromium"), chromedp.NoSandbox,
		chromedp.WindowSize(int(width), int(height)), chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.IgnoreCertErrors) // it does not know the appliance's own CA
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &browser{t: t, ctx: ctx, origin: origin, name: name}
	if err := chromedp.Listen(ctx, b.watch); err != nil { // starts the browser
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: width, Height: height, DeviceScaleFactor: 1, Mobile: width < 600,
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, f := range b.faults {
			t.Error(f)
		}
		if t.Failed() {
			b.shot("failed")
		}
	})
	return b
}

func (b *browser) watch(event any) {
	fault := ""
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		fault = fmt.Sprintf("script: %s line %d", e.ExceptionDetails.Text, e.ExceptionDetails.LineNumber+1)
		if e.ExceptionDetails.Exception != nil {
			fault += ": " + e.ExceptionDetails.Exception.Description
		}
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning {
			fault = "console:"
			for _, a := range e.Args {
				fault += " " + cmp.Or(string(a.Value), a.Description)
			}
		}
	case *log.EventEntryAdded:
		// A refusal by the API is not the page's fault.
		if e.Entry.Level == log.EntryLevelError && e.Entry.Source != log.EntrySourceNetwork {
			fault = fmt.Sprintf("%s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	case *page.EventJavascriptDialogOpening:
		fault = "dialog: " + e.Message
	case *cdpnet.EventRequestWillBeSent:
		if u := e.Request.URL; !strings.HasPrefix(u, b.origin+"/") && !strings.HasPrefix(u, "data:") {
			fault = "request to elsewhere: " + u
		}
	}
	if fault != "" {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.faults = append(b.faults, fault)
	}
}

// act runs an action with a time limit: a page that hangs, or shows a dialog, does not answer.
func act[T any](b *browser, a chromedp.Action[T]) (T, error) {
	ctx, cancel := context.WithTimeout(b.ctx, apptest.Patience)
	defer cancel()
	return chromedp.Run(ctx, a)
}

func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if _, err := act(b, chromedp.Steps(actions...)); err != nil {
		b.t.Fatal(err)
	}
}

// open goes to the page. The browser gives up while an interface of the machine changes, as other tests have it:
// then open tries again.
func (b *browser) open(path string) {
	b.t.Helper()
	var err error
	for range 20 {
		if _, err = act(b, chromedp.Navigate(b.origin+path)); err == nil || !strings.Contains(err.Error(), "ERR_NETWORK_CHANGED") {
			break
		}
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// eval returns the value of the expression, which may be a promise.
func (b *browser) eval(expression string) any {
	b.t.Helper()
	v, err := act(b, chromedp.Evaluate[any](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", expression[:min(len(expression), 200)], err)
	}
	return v
}

// see waits until the page's text contains each of the texts.
func (b *browser) see(texts ...string) {
	b.t.Helper()
	for _, text := range texts {
		b.until("document.body && document.body.innerText.includes(" + quote(text) + ")")
	}
}

// until waits for the condition, on any page that is open meanwhile.
func (b *browser) until(condition string) {
	b.t.Helper()
	apptest.Eventually(b.t, func() bool {
		ok, err := act(b, chromedp.Evaluate[bool]("!!("+condition+")"))
		return ok && err == nil // an error: between two pages
	}, func() string {
		text, _ := act(b, chromedp.Evaluate[string]("location.pathname + '\\n' + document.body.innerText"))
		return "never became true: " + condition + "\non " + text
	})
}

func (b *browser) click(selector string) {
	b.t.Helper()
	b.do(chromedp.WaitVisible(chromedp.CSS(selector)), chromedp.Click(chromedp.CSS(selector)))
}

// fill replaces the content of the field with the text.
func (b *browser) fill(selector, text string) {
	b.t.Helper()
	b.do(chromedp.WaitVisible(chromedp.CSS(selector)))
	b.eval("document.querySelector(" + quote(selector) + ").focus(); document.activeElement.select()")
	if _, err := chromedp.Call(b.ctx, input.InsertText, input.InsertTextParams{Text: text}); err != nil {
		b.t.Fatal(err)
	}
}

// keys presses keys at the current focus.
func (b *browser) keys(keys string) { b.t.Helper(); b.do(chromedp.KeyEvent(keys)) }

// focused returns the text of the focused element.
func (b *browser) focused() string {
	b.t.Helper()
	return b.eval("document.activeElement.innerText.trim()").(string)
}

func (b *browser) text(selector string) string {
	b.t.Helper()
	return b.eval("document.querySelector(" + quote(selector) + ").textContent").(string)
}

// shot stores a screenshot of the whole page among the artifacts.
func (b *browser) shot(name string) {
	b.t.Helper()
	picture, err := act(b, chromedp.FullScreenshot(100))
	if err != nil {
		b.t.Log(err)
		return
	}
	dir := filepath.Join("..", "..", "artifacts")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+"-"+b.name+".png"), picture, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

func (b *browser) dark(on bool) {
	b.t.Helper()
	scheme := "light"
	if on {
		scheme = "dark"
	}
	if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	}); err != nil {
		b.t.Fatal(err)
	}
}

// inspect checks in both themes that the page is accessible and fits the screen, and stores a
// screenshot.
func (b *browser) inspect(name string) {
	b.t.Helper()
	for _, dark := range []bool{false, true} {
		b.dark(dark)
		if dark {
			name += "-dark"
		}
		b.shot(name)
		b.accessible(name)
	}
	b.dark(false)
	if b.eval("[...document.querySelectorAll('.notice > span')].some(e => !e.textContent.trim())").(bool) {
		b.t.Errorf("%s shows a notice without words", name)
	}
	if wide := b.eval("document.documentElement.scrollWidth - document.documentElement.clientWidth"); wide != 0.0 {
		b.t.Errorf("%s is %v pixels wider than the screen", name, wide)
	}
}

var noAxe sync.Once // reports once for all pages that they are not checked

// accessible checks that axe finds nothing serious or critical.
func (b *browser) accessible(name string) {
	b.t.Helper()
	source, err := os.ReadFile(filepath.Join("..", "..", "web", "ui", "node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		if os.Getenv("WFM_CI") != "" {
			b.t.Fatal("axe-core is not installed: run npm ci in web/ui")
		}
		noAxe.Do(func() { b.t.Log("axe-core is not installed: run npm ci in web/ui to have the pages checked with it") })
		return
	}
	b.do(chromedp.Evaluate[chromedp.Void](string(source)))
	found := b.eval(`axe.run(document, {resultTypes: ['violations']}).then(r => JSON.stringify(r.violations
		.filter(v => ['serious', 'critical'].includes(v.impact))
		.map(v => v.id + ': ' + v.help + ' ' + v.nodes.map(n => n.target + ' ' + n.failureSummary).join('; '))))`).(string)
	if found != "[]" {
		b.t.Errorf("%s, %s: %s", b.name, name, found)
	}
}

func quote(s string) string {
	raw, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(raw)
}
