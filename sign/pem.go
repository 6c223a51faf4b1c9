package sign

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// PEM block types.
const (
	blockSPKI         = "PUBLIC KEY"
	blockPKCS1Public  = "RSA PUBLIC KEY"
	blockPKCS8        = "PRIVATE KEY"
	blockPKCS1Private = "RSA PRIVATE KEY"
	blockSEC1         = "EC PRIVATE KEY"
	blockECParameters = "EC PARAMETERS"
)

// ParsePublicKey reads one PEM block, "PUBLIC KEY" (SPKI) or "RSA PUBLIC KEY"
// (PKCS #1), with an RSA key of 2048 to 8192 bits or a P-256 key. The error
// says in words what is wrong and quotes nothing of the file.
func ParsePublicKey(file []byte) (PublicKey, error) {
	k, err := parsePublicKey(file)
	if err != nil {
		return PublicKey{}, fmt.Errorf("public key: %w", err)
	}
	return k, nil
}

func parsePublicKey(file []byte) (PublicKey, error) {
	block, rest, err := firstBlock(file)
	if err != nil {
		return PublicKey{}, err
	}
	switch {
	case strings.HasSuffix(block.Type, "PRIVATE KEY"):
		return PublicKey{}, errors.New("this is a private key: keep it, and give its public half " +
			"(openssl pkey -in private.pem -pubout)")
	case len(bytes.TrimSpace(rest)) > 0:
		return PublicKey{}, errTrailing
	}
	var key any
	switch block.Type {
	case blockSPKI:
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	case blockPKCS1Public:
		key, err = x509.ParsePKCS1PublicKey(block.Bytes)
	default:
		return PublicKey{}, fmt.Errorf("PEM block %q: want %q or %q", block.Type, blockSPKI, blockPKCS1Public)
	}
	if err != nil {
		return PublicKey{}, err
	}
	return newPublicKey(key)
}

// newPublicKey checks that the key is one of those that we take.
func newPublicKey(key any) (PublicKey, error) {
	var k PublicKey
	switch key := key.(type) {
	case *rsa.PublicKey:
		switch bits := key.N.BitLen(); {
		case bits < rsaBitsMin:
			return PublicKey{}, fmt.Errorf("an RSA key of %d bits is too small: want %d or more", bits, rsaBitsMin)
		case bits > rsaBitsMax:
			return PublicKey{}, fmt.Errorf("an RSA key of %d bits is too large: want at most %d", bits, rsaBitsMax)
		case key.N.Bit(0) == 0, key.E < 3, key.E&1 == 0: // with exponent 1 everybody could sign
			return PublicKey{}, errors.New("an RSA key with an impossible modulus or exponent")
		}
		k.rsa = key
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() {
			return PublicKey{}, fmt.Errorf("an elliptic key on %s: want P-256 (prime256v1)", key.Curve.Params().Name)
		}
		k.ec = key
	default:
		return PublicKey{}, fmt.Errorf("a key of type %T: want RSA or P-256", key)
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return PublicKey{}, err
	}
	k.der = string(der)
	return k, nil
}

// PEM is the key's SPKI form; nil of the zero key.
func (k PublicKey) PEM() []byte {
	if k.der == "" {
		return nil
	}
	return pem.EncodeToMemory(&pem.Block{Type: blockSPKI, Bytes: []byte(k.der)})
}

// ParsePrivateKey reads one PEM block without a passphrase, "PRIVATE KEY"
// (PKCS #8), "RSA PRIVATE KEY" (PKCS #1) or "EC PRIVATE KEY" (SEC 1), with a
// key of the kinds that ParsePublicKey takes. The error quotes nothing of the
// file.
func ParsePrivateKey(file []byte) (PrivateKey, error) {
	k, err := parsePrivateKey(file)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("private key: %w", err)
	}
	return k, nil
}

func parsePrivateKey(file []byte) (PrivateKey, error) {
	block, rest, err := firstBlock(file)
	if err != nil {
		return PrivateKey{}, err
	}
	if block.Type == blockECParameters { // openssl ecparam -genkey writes it before the key
		if block, rest, err = firstBlock(rest); err != nil {
			return PrivateKey{}, err
		}
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return PrivateKey{}, errTrailing
	}
	var key any
	switch block.Type {
	case blockPKCS8:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case blockPKCS1Private:
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case blockSEC1:
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case blockSPKI, blockPKCS1Public:
		return PrivateKey{}, errors.New("this is a public key")
	default:
		return PrivateKey{}, fmt.Errorf("PEM block %q: want %q, %q or %q",
			block.Type, blockPKCS8, blockPKCS1Private, blockSEC1)
	}
	if err != nil {
		return PrivateKey{}, err
	}
	return newPrivateKey(key)
}

func newPrivateKey(key any) (PrivateKey, error) {
	own, ok := key.(crypto.Signer)
	if !ok {
		return PrivateKey{}, fmt.Errorf("a key of type %T cannot sign: want RSA or P-256", key)
	}
	public, err := newPublicKey(own.Public())
	if err != nil {
		return PrivateKey{}, err
	}
	signer, err := signerOf(own)
	if err != nil {
		return PrivateKey{}, err
	}
	return PrivateKey{key: own, signer: signer, public: public}, nil
}

// PEM is the key's PKCS #8 form, in clear; nil of the zero key.
func (k PrivateKey) PEM() []byte {
	if k.key == nil {
		return nil
	}
	der, err := x509.MarshalPKCS8PrivateKey(k.key)
	if err != nil { // both kinds of keys that newPrivateKey takes can be written
		panic(fmt.Sprintf("write a %s key: %v", k.public.Type(), err))
	}
	return pem.EncodeToMemory(&pem.Block{Type: blockPKCS8, Bytes: der})
}

var errTrailing = errors.New("there is something after the key: want one PEM block and nothing else")

// firstBlock reads the PEM block with which the file must begin, so that no
// block is passed over unseen.
func firstBlock(file []byte) (*pem.Block, []byte, error) {
	file = bytes.TrimSpace(file)
	if !bytes.HasPrefix(file, []byte("-----BEGIN ")) {
		return nil, nil, errors.New("not PEM: want a file that begins with -----BEGIN")
	}
	block, rest := pem.Decode(file)
	switch {
	case block == nil:
		return nil, nil, errors.New("the PEM block is damaged")
	case strings.HasPrefix(block.Type, "ENCRYPTED"), strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED"):
		return nil, nil, errors.New("the key is encrypted: take its passphrase off first (openssl pkey)")
	}
	return block, rest, nil
}
