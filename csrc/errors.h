/* The only place that builds exceptions of the client. */
#ifndef AR_ERRORS_H
#define AR_ERRORS_H

#include "state.h"

/* Where a server is, as error messages name it: "host:port", or the path of a unix socket. Without a port
 * `host` is a description: the address is asked for with each connection. */
typedef struct {
    const char *host; /* NULL for a unix socket */
    int port;
    const char *path;
} ar_endpoint;

/* How far a command has come. */
typedef enum { AR_PHASE_CONNECTION, AR_PHASE_QUEUED, AR_PHASE_WRITTEN, AR_PHASE_ANSWERED } ar_phase;

/* What was to be seen when a command's time was over. */
typedef struct {
    ar_phase phase;
    int unsent;           /* no connection has taken it yet */
    int total;            /* it was the time for the operation as a whole */
    Py_ssize_t in_flight; /* commands that have no answer yet */
    unsigned long long unsent_bytes;
    double silent_for; /* seconds since something was read, negative: nothing ever was */
} ar_stall;

/* Each returns a new exception instance, or NULL with another exception set. */
PyObject *ar_error_format(PyObject *cls, const char *format, ...);
PyObject *ar_error_connecting(ar_state *state, const ar_endpoint *endpoint, int error_number,
                              const char *reason);
/* Makes it follow from an ssl.SSLCertVerificationError, as connections of asyncio's do. */
void ar_error_add_certificate_cause(PyObject *exception, const char *reason);
PyObject *ar_error_timeout(ar_state *state, const ar_endpoint *endpoint, const ar_stall *stall);
/* No attempt to connect is made for `retry_after` seconds (0.0: one is under way) since the last one
 * failed with `cause` (borrowed). */
PyObject *ar_error_circuit_open(ar_state *state, const ar_endpoint *endpoint, int failures,
                                double retry_after, PyObject *cause);
/* "Written, never answered": `cause` (borrowed) becomes __cause__. */
PyObject *ar_error_outcome_unknown(ar_state *state, PyObject *command_name, int repeatable,
                                   PyObject *cause);
/* An error reply of the server, as redis-py's exception class for its code. */
PyObject *ar_error_from_reply(ar_state *state, const char *text, size_t length);

/* Whether an error reply says "not now": a server that is loading its data, say. redis-py has ConnectionErrors for
 * these; a wrong password, which is one of them, too, is wrong for good. */
int ar_error_is_passing(const ar_state *state, PyObject *reply);
/* The first error among so many replies at the beginning of a list (borrowed), or NULL. */
PyObject *ar_error_first(PyObject *replies, Py_ssize_t count);

/* Sets redis-py's DataError for an argument that has no RESP form. */
void ar_error_set_bad_argument(ar_state *state, PyObject *argument);

/* Sets ConnectionError in place of the CancelledError that is set, which becomes its cause. */
void ar_error_set_given_up(ar_state *state);

/* A fresh instance that says the same: one exception object raised in many tasks would collect
 * all their tracebacks. Returns a new reference (to `exception` itself where copying fails). */
PyObject *ar_error_copy(PyObject *exception);

#endif
