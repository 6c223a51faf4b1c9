// Package sign signs and verifies the bodies of requests and webhooks.
package sign

// PublicKey verifies what a partner, or the server, has signed.
type PublicKey struct{}
