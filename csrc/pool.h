/* The connections of one client on one asyncio loop: the shared express lane and the leased lane. */
#ifndef AR_POOL_H
#define AR_POOL_H

#include "connection.h"

/* breaker.c: while the server cannot be reached at all, commands are refused at once. */
typedef enum {
    AR_BREAKER_CLOSED,    /* commands wait for attempts to connect */
    AR_BREAKER_OPEN,      /* `timer` runs until the next attempt */
    AR_BREAKER_HALF_OPEN, /* one attempt decides: it is under way, or the next command makes it */
} ar_breaker_state;

typedef struct {
    ar_breaker_state state;
    int failures; /* attempts to connect that failed in a row */
    int wanted;   /* a command was refused since the last attempt */
    ev_timer timer;
    double next;      /* monotonic seconds that the timer stands for */
    uint64_t random;  /* state of the generator of the jitter */
    PyObject *reason; /* what the last attempt failed with, or NULL */
    unsigned long long opened;
} ar_breaker;

typedef struct ArPool {
    PyObject_HEAD
    ar_state *state;
    ArCore *core;
    ArConfig *config;
    ar_conn **conns;
    int conn_count, conn_capacity;
    ar_conn **lent; /* borrowed: in the hands of links */
    int lent_count, lent_capacity;
    ar_ring waiting;       /* ArCommand *, owned: for an express connection, or for room in it */
    ar_ring lease_waiting; /* ArCommand *, owned: for a connection of their own */
    int failures;          /* attempts to connect that failed in a row */
    ev_timer retry_timer;  /* until the next attempt */
    ev_timer deadline_timer;
    ev_timer health_timer;
    ev_timer hold_timer;  /* until the next attempt after a refusal */
    double next_deadline; /* monotonic seconds deadline_timer stands for */
    int protocol;         /* spoken by the connection made last, 0 before */
    int closed;
    int dispatching;
    int resume_scheduled;
    ar_breaker breaker;
    int holding;               /* hold_timer runs: what waits goes on waiting */
    PyObject *on_push;         /* callable(message), or NULL */
    int spread;                /* express connections to keep, to as many servers; 0: one */
    unsigned turn;             /* of them has the next command */
    int handing_back;          /* blocking commands that were given up and are not over */
    PyObject *new_credentials; /* tuple of AUTH's arguments that came after connecting, or NULL */
    unsigned long long connects, reconnects;
} ArPool;

ArPool *ar_pool_new(ArCore *core, ArConfig *config);
/* Sends the command or queues it. -1 with an exception set: it was not accepted. */
int ar_pool_submit(ArPool *pool, ArCommand *command);
/* Closes every connection; commands still pending fail with ConnectionError. */
void ar_pool_close(ArPool *pool);
/* As above for a loop that is gone: nobody is told. */
void ar_pool_discard(ArPool *pool);
/* A connection that had been lent comes back, and the reference with it; `reuse`: for somebody else. */
void ar_pool_take_back(ArPool *pool, ar_conn *conn, int reuse);
/* ops->bequeath of commands sent through a pool: nothing that a blocking command pops is lost. */
int ar_pool_bequeath(ArCommand *command);
/* ops->returned of the same commands. */
void ar_pool_returned(ArCommand *command, int dropped);
/* reauth.c: says AUTH with the words of a tuple on every connection. The futures of the answers are
 * appended to a list, but for those behind a blocking command. -1 with an exception set. */
int ar_pool_reauthenticate(ArPool *pool, PyObject *words, PyObject *futures);
/* follow.c: connections stay only where they lead to one of the addresses, a list of (host, port); commands on
 * others are treated as on a lost connection, and what waits is tried at once. `spread` express
 * connections share the commands. Returns how many connections were dropped, -1 with an exception set. */
int ar_pool_follow(ArPool *pool, PyObject *addresses, int spread);
/* ops->abandoned of commands sent through a pool. */
void ar_pool_abandon(ArCommand *command);

/* False once it has been closed or its loop or process is gone. */
static inline int
ar_pool_usable(const ArPool *pool)
{
    return !pool->closed && pool->core->ev != NULL && ar_core_alive(pool->core);
}

int ar_pool_setup(PyObject *module, ar_state *state);

#endif
