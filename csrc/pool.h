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

struct ArPool;

/* Who sees to a pool that is one of several, a cluster's say. */
typedef struct {
    /* The command is answered with an error, or a list of replies with one in it (all borrowed). 1: it has
     * been sent elsewhere, or will be, and is not answered. */
    int (*redirected)(struct ArPool *pool, ArCommand *command, PyObject *reply);
    /* Connecting has failed for good, what waits is about to fail with `reason` (borrowed): commands that can
     * go elsewhere may be taken (ar_pool_take_waiting). */
    void (*gave_up)(struct ArPool *pool, PyObject *reason);
    void (*ready)(struct ArPool *pool);
    /* A connection that had worked is lost. */
    void (*lost)(struct ArPool *pool);
} ar_pool_overseer;

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
    int dispatching, dispatch_again;
    int resume_scheduled;
    ar_breaker breaker;
    int holding;               /* hold_timer runs: what waits goes on waiting */
    int spread;                /* express connections to keep, to as many servers; 0: one */
    unsigned turn;             /* of them has the next command */
    int handing_back;          /* blocking commands that were given up and are not over */
    PyObject *new_credentials; /* tuple of AUTH's arguments that came after connecting, or NULL */
    unsigned long long connects, reconnects;
    const ar_pool_overseer *overseer; /* or NULL */
    void *overseer_data;              /* borrowed */
} ArPool;

ArPool *ar_pool_new(ArCore *core, ArConfig *config);
/* Sends the command or queues it. -1 with an exception set: it was not accepted. */
int ar_pool_submit(ArPool *pool, ArCommand *command);
/* Closes every connection; commands still pending fail with ConnectionError. */
void ar_pool_close(ArPool *pool);
/* As above for a loop that is gone: nobody is told. */
void ar_pool_discard(ArPool *pool);
/* Lets go of the connection, and of the reference: it is the caller's now. -1 with an exception set: it stays. */
int ar_pool_lend(ArPool *pool, ar_conn *conn);
/* A connection that had been lent comes back, and the reference with it; `reuse`: for somebody else. */
void ar_pool_take_back(ArPool *pool, ar_conn *conn, int reuse);
/* Appends to `taken`, oldest first, the commands that wait for a connection and that `wanted` approves of; the
 * references go with them. -1 without memory: some may stay. */
int ar_pool_take_waiting(ArPool *pool, ar_ring *taken,
                         int (*wanted)(void *data, ArCommand *command), void *data);
/* Gives up express connections on which commands have waited for so many seconds; `reason` is borrowed. */
void ar_pool_lose_silent(ArPool *pool, double seconds, PyObject *reason);
/* Seconds for which an express connection has left a command without an answer, 0.0: none has. */
double ar_pool_silence(const ArPool *pool);
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
