/* Pipelines on the wire: many commands, one write, one slot in the FIFO. */
#ifndef AR_BATCH_H
#define AR_BATCH_H

#include "client.h"

/* `commands` is a CommandQueue or a list of (arguments, options), `mode` an ar_batch_mode. */
PyObject *ar_batch_new(ArClient *client, const ar_command_ops *ops, PyObject *commands, int mode);
/* A list of (arguments, options) as a queue. */
ArQueue *ar_batch_queue(ar_state *state, PyObject *list);
/* Replies (stolen) to (results, failed, awaitables). */
PyObject *ar_batch_convert(ArClient *client, ArCommand *command, PyObject *replies);

#endif
