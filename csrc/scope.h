/* aiecs_redis.timeout(): a deadline for all operations that are started inside a block of Python code. */
#ifndef AR_SCOPE_H
#define AR_SCOPE_H

#include "state.h"

int ar_scope_setup(PyObject *module, ar_state *state);

/* Monotonic seconds at which what is started now must be over, 0.0: no bound. -1 with an exception set.
 * To be called while state->open_scopes is not 0: without a block anywhere nothing is looked up. */
int ar_scope_expires(ar_state *state, double *expires);

#endif
