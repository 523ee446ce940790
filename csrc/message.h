/* Published messages in the shape redis-py gives them. */
#ifndef AR_MESSAGE_H
#define AR_MESSAGE_H

#include "state.h"

/* Who handles what: dicts of name -> handler or None. */
typedef struct {
    PyObject *channels, *patterns, *shard_channels;
} ar_subscriptions;

/* Whether the reply is one of the three kinds that carry a published message. */
int ar_message_is_published(PyObject *reply);

/* The message as a dict, or as (handler, dict) when it has one; the reply itself when it is something else. Steals `reply`;
 * NULL with an exception set. */
PyObject *ar_message_from_reply(ar_state *state, const ar_subscriptions *subscriptions,
                                PyObject *reply);

#endif
