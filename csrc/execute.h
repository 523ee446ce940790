/* Commands of a client: made, started, converted. */
#ifndef AR_EXECUTE_H
#define AR_EXECUTE_H

#include "client.h"

/* What client_type.c puts into the method table. */
PyObject *ar_execute_command(ArClient *self, PyObject *const *args, Py_ssize_t nargs,
                             PyObject *kwnames);
PyObject *ar_execute_native(ArClient *self, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *kwnames);
PyObject *ar_execute_batch(ArClient *self, PyObject *args);
/* The dispatch function of a client's command methods. */
PyObject *ar_execute_dispatch(ArTarget *target, PyObject *name, PyObject *const *rest,
                              Py_ssize_t rest_count, PyObject *options, uint8_t properties);

#endif
