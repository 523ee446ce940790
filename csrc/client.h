/* _native.Client: the C base of aiecs_redis.Redis. */
#ifndef AR_CLIENT_H
#define AR_CLIENT_H

#include "cluster.h"
#include "metrics.h"
#include "target.h"
#include "transport.h"

typedef struct ArClient {
    ArTarget target;
    ArTransport *transport; /* NULL until configured: everything goes redis-py's way */
    ArCluster *cluster;     /* sends by keys, or NULL; `transport` has its settings then */
    PyObject *callbacks;    /* response_callbacks, or NULL */
    ar_metrics *metrics;    /* NULL: commands are not measured */
    int retrying;           /* an explicit retry policy: commands go through _retry_execute */
    int downgraded;         /* has been told that the server speaks RESP2 only */
    int unsettled;          /* the first command looks whether the pool's settings have changed */
    int own_connection;     /* single_connection_client: redis-py drives it */
} ArClient;

/* One reply of one command by the client's rules; steals `reply`, an exception instance being an
 * error reply. NULL with an exception set: that is the outcome. */
PyObject *ar_client_convert(ArClient *client, PyObject *name, PyObject *options, PyObject *reply);

/* Once for each answer, before replies are converted: see downgraded. */
int ar_client_note_protocol(ArClient *client);

/* ops->start of its commands: submits to the pool of the running loop. */
int ar_client_start(ArCommand *command);
/* ops->measured of its commands. */
void ar_client_measured(ArCommand *command, double started, PyObject *exception);

/* Before the first command: has the Python side look at the pool's settings once more. */
int ar_client_settle(ArClient *self);
/* After a change of what decides whether commands go the native way. */
void ar_client_redirect(ArClient *self);

#endif
