/* Pipelines on the wire: many commands, one write, one slot in the FIFO. */
#ifndef AR_BATCH_H
#define AR_BATCH_H

#include "client.h"

PyObject *ar_batch_new(PyObject *owner, ar_state *state, const ar_command_ops *ops,
                       PyObject *commands, int raw, double timeout);
/* Replies (stolen) to (results, failed, awaitables). */
PyObject *ar_batch_convert(ArClient *client, ArCommand *command, PyObject *replies);

#endif
