/* _native.Transport: settings and their connections, a pool for each asyncio loop. Clients made on one redis-py
 * pool share one. */
#ifndef AR_TRANSPORT_H
#define AR_TRANSPORT_H

#include "pool.h"

typedef struct ArTransport {
    PyObject_HEAD
    ar_state *state;
    ArConfig *config;
    ArPool *pool;    /* the one used last */
    PyObject *pools; /* dict of Core -> Pool: one for each live loop */
    PyObject *weakrefs;
} ArTransport;

/* Submits to the pool of the running loop. -1 with an exception set: it was not accepted. */
int ar_transport_submit(ArTransport *self, ArCommand *command);

int ar_transport_setup(PyObject *module, ar_state *state);

#endif
