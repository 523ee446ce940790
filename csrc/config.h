/* What a client is to do, as checked and normalized by Python; immutable and shared by its pools. */
#ifndef AR_CONFIG_H
#define AR_CONFIG_H

#include "encode.h"
#include "tls.h"

typedef struct {
    PyObject_HEAD
    ar_state *state;
    PyObject *kwargs_owner; /* the keyword arguments: keeps every value below alive */
    ar_endpoint endpoint;
    long long db;
    PyObject *credentials; /* callable -> (password,) or (username, password), or None */
    PyObject *client_name, *lib_name, *lib_version; /* str or None */
    int protocol;                                   /* 3 (with fall-back to 2) or 2 */
    ar_text_codec codec;
    int decode;
    double timeout;         /* seconds to wait for a reply, 0: for ever */
    double connect_timeout; /* seconds for connecting and the handshake, 0: for ever */
    int keepalive;
    PyObject *socket_options; /* tuple of (level, option, value) */
    int max_connections;
    double pool_timeout;      /* seconds to wait for a leased connection, 0: for ever */
    double operation_timeout; /* seconds for an operation as a whole, 0: for ever */
    int breaker_failures;     /* attempts to connect that fail before the circuit opens, 0: none */
    double breaker_recovery;  /* seconds from one attempt to the next while it is open */
    double breaker_jitter;    /* the part of them that is random, 0 to 1 */
    long long max_pending_bytes; /* queued and unsent bytes from which on commands wait */
    ar_tls *tls;                 /* NULL: plain */
    int retries;                 /* further attempts to connect */
    PyObject *backoff;           /* callable(failures) -> seconds, or None */
    int replay;                  /* repeat what may be repeated after a lost connection */
    int retry_on_timeout;
    double health_check_interval; /* seconds of silence before a PING, 0: none */
    int introduce;                /* do the handshake; otherwise connecting is all */
    /* Callable([(host, port) in use]) -> awaitable of (host, port), asked for each connection, or None: `endpoint`
     * it is. An exception instance instead of an address: asking again would not help. */
    PyObject *locate;
    int read_only_moves; /* a server that refuses to write is not the one that is wanted any more */
    int readonly;        /* a cluster's replicas are asked, too: READONLY */
} ArConfig;

int ar_config_setup(PyObject *module, ar_state *state);

#endif
