//go:build openssl

package sign

/*
#cgo LDFLAGS: -lcrypto
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

// What fails leaves its reason in a list of the thread, which nobody reads.
static EVP_PKEY *key_parse(const unsigned char *der, long n) {
	EVP_PKEY *key = d2i_PrivateKey(EVP_PKEY_RSA, NULL, &der, n);
	ERR_clear_error();
	return key;
}

static int key_sign(EVP_PKEY *key, unsigned char *out, size_t *n, const unsigned char *sum, size_t sum_n) {
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
	int ok = ctx != NULL &&
		EVP_PKEY_sign_init(ctx) > 0 &&
		EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) > 0 &&
		EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()) > 0 &&
		EVP_PKEY_sign(ctx, out, n, sum, sum_n) > 0;
	EVP_PKEY_CTX_free(ctx);
	ERR_clear_error();
	return ok;
}
*/
import "C"

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"io"
	"runtime"
	"unsafe"
)

// Library names what signs with RSA keys: "Go", or OpenSSL and its version in a
// build with the tag openssl. Keys and signatures are the same with both.
func Library() string { return C.GoString(C.OpenSSL_version(C.OPENSSL_VERSION)) }

// signerOf returns what signs with a key: OpenSSL for RSA, Go for the rest, at
// which it is as fast.
func signerOf(key crypto.Signer) (crypto.Signer, error) {
	k, ok := key.(*rsa.PrivateKey)
	if !ok {
		return key, nil
	}
	der := x509.MarshalPKCS1PrivateKey(k)
	defer clear(der)
	handle := C.key_parse((*C.uchar)(unsafe.Pointer(&der[0])), C.long(len(der)))
	if handle == nil {
		return nil, errors.New("OpenSSL does not take the RSA key")
	}
	s := &openSSL{handle: handle, public: &k.PublicKey}
	runtime.AddCleanup(s, func(handle *C.EVP_PKEY) { C.EVP_PKEY_free(handle) }, handle)
	return s, nil
}

// openSSL is an RSA key in OpenSSL's memory, which is freed after it. It may be
// used concurrently: signing does not change the key.
type openSSL struct {
	handle *C.EVP_PKEY
	public *rsa.PublicKey
}

func (s *openSSL) Public() crypto.PublicKey { return s.public }

// Sign signs the SHA-256 of something by PKCS #1 v1.5. No randomness goes into
// such a signature, and OpenSSL takes that for blinding from itself.
func (s *openSSL) Sign(_ io.Reader, sum []byte, o crypto.SignerOpts) ([]byte, error) {
	if o.HashFunc() != crypto.SHA256 || len(sum) != sha256.Size {
		return nil, errors.New("OpenSSL signs SHA-256 here and nothing else")
	}
	signature := make([]byte, s.public.Size())
	n := C.size_t(len(signature))
	ok := C.key_sign(s.handle, (*C.uchar)(unsafe.Pointer(&signature[0])), &n, (*C.uchar)(unsafe.Pointer(&sum[0])), C.size_t(len(sum)))
	runtime.KeepAlive(s) // the key is not freed while it signs
	if ok == 0 || int(n) != len(signature) {
		return nil, errors.New("OpenSSL can't sign with the key")
	}
	return signature, nil
}
