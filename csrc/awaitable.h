/* The two Python types of a command: a coroutine while it is new, a future from then on. */
#ifndef AR_AWAITABLE_H
#define AR_AWAITABLE_H

#include "command.h"

int ar_awaitable_setup(PyObject *module, ar_state *state);

#endif
