/* _native.Reader: the parser on its own. */
#ifndef AR_READER_H
#define AR_READER_H

#include "state.h"

int ar_reader_setup(PyObject *module, ar_state *state);

#endif
