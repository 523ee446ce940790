/* _native.Forward: a method that is another object's. */
#ifndef AR_FORWARD_H
#define AR_FORWARD_H

#include "state.h"

int ar_forward_setup(PyObject *module, ar_state *state);

#endif
