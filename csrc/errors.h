/* The only place that builds exceptions of the client. */
#ifndef AR_ERRORS_H
#define AR_ERRORS_H

#include "state.h"

/* Where a server is, as error messages name it: "host:port", or the path of a unix socket. */
typedef struct {
    const char *host; /* NULL for a unix socket */
    int port;
    const char *path;
} ar_endpoint;

/* Each returns a new exception instance, or NULL with another exception set. */
PyObject *ar_error_format(PyObject *cls, const char *format, ...);
PyObject *ar_error_connecting(ar_state *state, const ar_endpoint *endpoint, int error_number,
                              const char *reason);
PyObject *ar_error_read_timeout(ar_state *state, const ar_endpoint *endpoint);
PyObject *ar_error_write_timeout(ar_state *state, const ar_endpoint *endpoint);
PyObject *ar_error_connect_timeout(ar_state *state, const ar_endpoint *endpoint);
/* "Written, never answered": `cause` (borrowed) becomes __cause__. */
PyObject *ar_error_outcome_unknown(ar_state *state, PyObject *command_name, int repeatable,
                                   PyObject *cause);
/* An error reply of the server, as redis-py's exception class for its code. */
PyObject *ar_error_from_reply(ar_state *state, const char *text, size_t length);

/* Sets redis-py's DataError for an argument that has no RESP form. */
void ar_error_set_bad_argument(ar_state *state, PyObject *argument);

/* A fresh instance that says the same: one exception object raised in many tasks would collect
 * all their tracebacks. Returns a new reference (to `exception` itself where copying fails). */
PyObject *ar_error_copy(PyObject *exception);

#endif
