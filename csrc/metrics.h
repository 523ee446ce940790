/* Counters and latencies of a client's commands by name, and callbacks for single commands. A client that is not
 * measured has none of this: its commands cost two comparisons more. */
#ifndef AR_METRICS_H
#define AR_METRICS_H

#include "command.h"

typedef struct ar_metrics ar_metrics;

/* NULL with MemoryError set. The caller's is the first reference. */
ar_metrics *ar_metrics_new(void);
ar_metrics *ar_metrics_ref(ar_metrics *metrics);
void ar_metrics_unref(ar_metrics *metrics);
int ar_metrics_traverse(ar_metrics *metrics, visitproc visit, void *arg);

/* Callables or NULL, both called with a tuple in a later loop turn: `on_command` for every command and in
 * the context the command was made in, `on_slow` for those of `slow_seconds` and more. */
void ar_metrics_observe(ar_metrics *metrics, PyObject *on_command, PyObject *on_slow,
                        double slow_seconds);

/* The command was made; remembers its context if somebody is to be told. -1 with an exception set. */
int ar_metrics_created(const ar_metrics *metrics, ArCommand *command);
/* The command is over; `exception` (borrowed) when it failed. Swallows errors of its own. */
void ar_metrics_finished(ar_metrics *metrics, ArCommand *command, double started,
                         PyObject *exception);

/* dict of name -> (calls, errors, cancelled, nils, pipelined, seconds, slowest,
 * [(upper bound in seconds, count), ...]), buckets without a count left out. */
PyObject *ar_metrics_as_dict(const ar_metrics *metrics);

#endif
