/* Waiting for a reply without going to sleep. A thread that sleeps is woken tens of microseconds late on an idle core,
 * several times what a server on the same machine takes to answer. No Python code runs here. */
#ifndef AR_BUSYPOLL_H
#define AR_BUSYPOLL_H

#include "compat.h"
#include "libev.h"

/* Seconds for which polling goes on at most, unless the user says otherwise; 0: never. */
#define AR_BUSYPOLL_DEFAULT 40e-6
#define AR_BUSYPOLL_MAX 1e-3

typedef struct {
    int fd; /* of the selector that asyncio sleeps on, -1: unknown, and there is no polling */
    PyObject *ready; /* asyncio's queue of callbacks that are due */
    double limit;    /* seconds */
    double usual;    /* seconds until something came, on average */
    unsigned pause;  /* waits that are not polled after the last one that was in vain */
    unsigned paused; /* of them, still to come */
} ar_busypoll;

/* What the last replies tell of the server: it answers while we poll; it needs the core that we are on, and has
 * answered when the write returns; nothing, for there was no polling, or it was in vain. */
typedef enum { AR_SERVER_BESIDE, AR_SERVER_ON_OUR_CORE, AR_SERVER_SOMEWHERE } ar_server_place;

/* Looks for the selector and the queue of `loop`; without them (uvloop) there is no polling. -1 with MemoryError. */
int ar_busypoll_open(ar_busypoll *self, PyObject *loop, double limit);
/* Whether it would be worth it: asked once for each wait. */
int ar_busypoll_pays(ar_busypoll *self);
ar_server_place ar_busypoll_server(const ar_busypoll *self);
/* Polls, without the GIL, until a descriptor of the asyncio loop is ready (1), or it has taken too long. */
int ar_busypoll_wait(ar_busypoll *self);

#endif
