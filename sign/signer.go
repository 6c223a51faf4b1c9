//go:build !openssl

package sign

import "crypto"

// Library names what signs with RSA keys: "Go", or OpenSSL and its version in a
// build with the tag openssl. Keys and signatures are the same with both.
func Library() string { return "Go" }

// signerOf returns what signs with a key.
func signerOf(key crypto.Signer) (crypto.Signer, error) { return key, nil }
