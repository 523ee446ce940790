/* TLS: an OpenSSL context from redis-py's ssl_* settings, driven through hiredis' SSL layer. */
#ifndef AR_TLS_H
#define AR_TLS_H

#include "errors.h"

#include "hiredis.h"

#include <openssl/ssl.h>

typedef struct ar_tls ar_tls;

/* `options` is a dict: cafile, capath, cadata, certfile, keyfile, password, ciphers (str or None),
 * verify (0 none, 1 optional, 2 required), check_hostname, min_version, verify_flags (int).
 * ConnectionError naming the file or setting when OpenSSL refuses one. */
ar_tls *ar_tls_new(ar_state *state, PyObject *options);
void ar_tls_free(ar_tls *tls);

/* Starts TLS on a connected context. `host` is what the certificate must name, NULL for localhost. Returns
 * the session (owned by the context), NULL on failure with the context's err set. */
SSL *ar_tls_start(const ar_tls *tls, redisContext *context, const char *host);

/* Why the session failed, for people, into `buffer`. */
void ar_tls_reason(SSL *session, char *buffer, size_t size);

/* Whether the host is an IP address: certificates name these in a way of their own. */
int ar_tls_is_address(const char *host);

const char *ar_tls_library_version(void);

#endif
