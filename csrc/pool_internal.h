/* Between the files of the pool: pool.c, pool_events.c, deadline.c, refusal.c and the like. */
#ifndef AR_POOL_INTERNAL_H
#define AR_POOL_INTERNAL_H

#include "pool.h"

/* pool.c: sends what waits, as far as there are connections and room for it. */
void ar_pool_dispatch(ArPool *pool);
/* pool.c: takes the connection off the list (1), the pool's reference goes to the caller; or 0. */
int ar_pool_remove_conn(ArPool *pool, const ar_conn *conn);

/* pool.c: gives the command to the connection; -1 with an exception set: it was refused. */
int ar_pool_send_on(ArPool *pool, ar_conn *conn, ArCommand *command);
/* pool.c: as above, the command failing with the exception. */
void ar_pool_send_or_fail(ArPool *pool, ar_conn *conn, ArCommand *command);
/* pool.c: puts the command, whose arguments are settled, behind those that wait. */
int ar_pool_enqueue(ar_ring *ring, ArCommand *command);
/* pool.c: whether an express connection is ready, busy or not. */
int ar_pool_has_express(const ArPool *pool);
/* pool.c: something large is arriving or leaving on it. */
int ar_pool_has_bulk(const ar_conn *conn);
int ar_pool_count_lane(const ArPool *pool, ar_lane lane, int connecting_only);
/* pool.c: -1 when the connection could not be made; what waits has failed then. */
int ar_pool_open_conn(ArPool *pool, ar_lane lane);

/* pool.c: a list of connections gains one. -1 with an exception set. */
int ar_pool_list_add(ar_conn ***list, int *count, int *capacity, ar_conn *conn);

/* lease.c */
int ar_lease_submit(ArPool *pool, ArCommand *command);
void ar_lease_dispatch(ArPool *pool);

/* pool_events.c: fails every command of the ring with a copy of `reason`. */
void ar_pool_fail_ring(ArPool *pool, ar_ring *ring, PyObject *reason);
/* pool_events.c: how connections report to their pool. */
extern const ar_conn_owner ar_pool_conn_owner;

/* pool_events.c: seconds to wait after so many failures. */
double ar_pool_backoff(const ArPool *pool, int failures);

/* handback.c: ar_conn_owner.taken of pools. */
void ar_pool_conn_taken(ar_conn *conn, ArCommand *command, PyObject *reply);

/* handback.c: whether it has the place of a command that was given up: nobody wants it to be executed. */
int ar_pool_is_heir(const ArCommand *command);

/* refusal.c: ar_conn_owner.refused of pools. */
int ar_pool_conn_refused(ar_conn *conn, ArCommand *command, PyObject *reply);
void ar_refusal_init(ArPool *pool);

/* deadline.c: the command fails with TimeoutError in so many seconds (0.0: no bound of this kind), or when
 * the operation as a whole is over. */
void ar_deadline_set(ArPool *pool, ArCommand *command, double seconds);
/* deadline.c: seconds that a command which waits for room still has, more than 0. */
double ar_deadline_left(const ArPool *pool, const ArCommand *command);
void ar_deadline_init(ArPool *pool);
/* deadline.c: whether the operation as a whole is over; then with its exception set. */
int ar_deadline_refuses(ArPool *pool, const ArCommand *command);

/* breaker.c: an attempt to connect failed, and nothing else serves. 1: the circuit is open now, and what
 * waited has failed; 0: go on. `fatal`: the server is there, and refuses. */
int ar_breaker_failed(ArPool *pool, PyObject *reason, int fatal);
/* breaker.c: a connection is ready. */
void ar_breaker_succeeded(ArPool *pool);
/* breaker.c: a command comes. 1 with an exception set: it is refused. */
int ar_breaker_refuses(ArPool *pool);
void ar_breaker_init(ArPool *pool);

/* follow.c: ar_conn_owner.locate of pools. */
PyObject *ar_follow_locate(ar_conn *conn);
/* follow.c: a connection is ready: the next of several is opened. */
void ar_follow_ready(ArPool *pool);
/* follow.c: whose turn it is among several express connections; NULL: none is ready and has room. */
ar_conn *ar_follow_pick(ArPool *pool);
/* follow.c: whether the command was refused because its server is not the master any more. Such a
 * connection is closed when it has answered all. */
int ar_follow_refused(ar_conn *conn, const ArCommand *command, PyObject *reply);

/* reauth.c: a connection is ready, or given back: it repeats AUTH if a new token came meanwhile. */
void ar_reauth_ready(ArPool *pool, ar_conn *conn);

/* health.c */
void ar_health_init(ArPool *pool);
/* A connection is ready: from now on it is looked after. */
void ar_health_start(ArPool *pool);

#endif
