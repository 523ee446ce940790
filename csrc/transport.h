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
    const ar_pool_overseer *overseer; /* of all its pools, or NULL */
    void *overseer_data;              /* borrowed */
} ArTransport;

/* Sets the command's core, if it has none yet: `recent` (or NULL) is likely to be the right one. */
int ar_transport_enter(ArCommand *command, ArCore *recent);
/* Whom the pools it has, and those to come, report to. */
void ar_transport_oversee(ArTransport *self, const ar_pool_overseer *overseer, void *data);
/* Its pool on the core, borrowed; NULL without an exception when there is none that is usable. */
ArPool *ar_transport_pool(const ArTransport *self, ArCore *core);
/* Closes every connection; -1 with an exception set. */
int ar_transport_close(ArTransport *self);

/* Submits to the pool of the running loop. -1 with an exception set: it was not accepted. */
int ar_transport_submit(ArTransport *self, ArCommand *command);

int ar_transport_setup(PyObject *module, ar_state *state);

#endif
