/* Between the files of the pool: pool.c, pool_events.c, deadline.c. */
#ifndef AR_POOL_INTERNAL_H
#define AR_POOL_INTERNAL_H

#include "pool.h"

/* pool.c: sends what waits, as far as there are connections and room for it. */
void ar_pool_dispatch(ArPool *pool);
/* pool.c: takes the connection off the list (1), the pool's reference goes to the caller; or 0. */
int ar_pool_remove_conn(ArPool *pool, const ar_conn *conn);

/* pool_events.c: fails every command of the ring with a copy of `reason`. */
void ar_pool_fail_ring(ArPool *pool, ar_ring *ring, PyObject *reason);
/* pool_events.c: how connections report to their pool. */
extern const ar_conn_owner ar_pool_conn_owner;

/* deadline.c: the command fails with TimeoutError in so many seconds. */
void ar_deadline_set(ArPool *pool, ArCommand *command, double seconds);
void ar_deadline_init(ArPool *pool);

#endif
