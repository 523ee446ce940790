/* Between scatter.c and bundle.c: commands in parts. */
#ifndef AR_SCATTER_H
#define AR_SCATTER_H

#include "cluster.h"

/* A part that gives the replies at these positions of the whole, started but not sent; NULL with an exception
 * set. */
ArCommand *ar_scatter_part(ArCommand *whole, PyObject *name, PyObject *const *rest,
                           Py_ssize_t rest_count, const Py_ssize_t *positions, Py_ssize_t count);
/* Where the replies of a part belong, kept in its `options`. */
const Py_ssize_t *ar_scatter_positions(const ArCommand *part, Py_ssize_t *count);
/* Sends a part; steals the reference. One that cannot be sent has failed. */
void ar_scatter_send(ArCluster *self, ArCommand *part);
/* A list with room for so many replies. */
PyObject *ar_scatter_places(Py_ssize_t count);
/* No part is missing any more. */
void ar_scatter_complete(ArCommand *whole);

/* bundle.c: sends on alone what a node has refused for now, or for another node. 1: it is under way. */
int ar_bundle_resend(ArCommand *part, ArCommand *whole, Py_ssize_t number, PyObject *error);

#endif
