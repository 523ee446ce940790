/* _native.Client as Python sees it. */
#ifndef AR_CLIENT_TYPE_H
#define AR_CLIENT_TYPE_H

#include "client.h"

int ar_client_type_setup(PyObject *module, ar_state *state);

#endif
