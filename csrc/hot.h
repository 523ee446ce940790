/* The commands that have a native method: those every program uses most. */
#ifndef AR_HOT_H
#define AR_HOT_H

#include "target.h"

/* Gives a target type its command methods. */
int ar_hot_add_methods(PyTypeObject *type);

/* HOT_METHODS: the names of those methods. */
int ar_hot_add_names(PyObject *module);
/* Interns the names of commands and methods. */
int ar_hot_setup(ar_state *state);

#endif
