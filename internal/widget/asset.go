package widget

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/sha512"
	"embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strings"
)

//go:embed assets
var assets embed.FS

// public are the files that partners' pages load, each made of the sources
// named beside it.
var public = []string{"tokenize.js", "tokenize.css", "self-employed.js", "self-employed.css"}

var sources = map[string][]string{
	"tokenize.js":       {"mount.js", "tokenize.js"},
	"tokenize.css":      {"mount.css"},
	"self-employed.js":  {"mount.js", "self-employed.js"},
	"self-employed.css": {"mount.css"},
}

// framed are the files that only our own frames load.
var framed = []string{"frame.css", "frame.js", "digits.js", "card.js", "account.js", "link.js", "notice.js"}

// file is one asset, ready to be sent.
type file struct {
	kind string
	body []byte
	gzip []byte
	hash string // of the body, for integrity="…"
	etag string
}

// library is all assets by name. The version of the framed ones is a digest of
// them all, so that a page never mixes two releases.
type library struct {
	files   map[string]file
	version string
}

func newLibrary() library {
	l := library{files: map[string]file{}}
	for _, name := range public {
		var body []byte
		for _, source := range sources[name] {
			body = append(body, read(source)...)
		}
		if path.Ext(name) == ".js" {
			// One scope for all parts, and no name of ours in the partner's page.
			body = slices.Concat([]byte("\"use strict\";\n(() => {\n"), body, []byte("})();\n"))
		}
		l.files[name] = newFile(name, body)
	}
	all := sha256.New()
	for _, name := range framed {
		body := read(name)
		all.Write(body)
		l.files["assets/"+name] = newFile(name, body)
	}
	l.version = hex.EncodeToString(all.Sum(nil)[:8])
	return l
}

func read(name string) []byte {
	body, err := fs.ReadFile(assets, "assets/"+name)
	if err != nil {
		panic(err) // the binary was built without it
	}
	return body
}

func newFile(name string, body []byte) file {
	f := file{kind: "text/javascript; charset=utf-8", body: body}
	if path.Ext(name) == ".css" {
		f.kind = "text/css; charset=utf-8"
	}
	sum := sha512.Sum384(body)
	f.hash = "sha384-" + base64.StdEncoding.EncodeToString(sum[:])
	f.etag = `"` + hex.EncodeToString(sum[:12]) + `"`
	var small bytes.Buffer
	w, err := gzip.NewWriterLevel(&small, gzip.BestCompression)
	if err == nil {
		_, err = w.Write(body)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(err) // memory takes everything
	}
	f.gzip = small.Bytes()
	return f
}

// public serves a file to pages of any origin: it holds no secret, and a page
// that checks its integrity has to be allowed to read it.
func (l library) public(name string) http.Handler {
	f := l.files[name]
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Cross-Origin-Resource-Policy", "cross-origin")
		w.Header().Set("Cache-Control", "public, max-age=300")
		f.send(w, r)
	})
}

// private serves a file to our own frames. Its address changes with it.
func (l library) private(w http.ResponseWriter, r *http.Request) {
	f, ok := l.files["assets/"+r.PathValue("name")]
	if !ok || r.PathValue("version") != l.version {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Cross-Origin-Resource-Policy", "same-origin")
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	f.send(w, r)
}

// integrity lists the digests that partners put into their pages.
func (l library) integrity(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(l.digests()) // whoever has left needs no answer
}

func (l library) digests() map[string]string {
	digests := map[string]string{}
	for _, name := range public {
		digests[name] = l.files[name].hash
	}
	return digests
}

func (f file) send(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", f.kind)
	h.Set("ETag", f.etag)
	h.Set("Vary", "Accept-Encoding")
	if r.Header.Get("If-None-Match") == f.etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	body := f.body
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		body = f.gzip
	}
	_, _ = w.Write(body) // whoever has left needs no answer
}
