/* The commands of a pipeline: all their arguments in one array, no Python object for a command. */
#ifndef AR_QUEUE_H
#define AR_QUEUE_H

#include "encode.h"

#include <stdint.h>

typedef struct {
    Py_ssize_t end;    /* behind its last argument in `arguments`, where the next one begins */
    PyObject *options; /* keyword arguments (a dict), or NULL */
    uint8_t properties;
} ar_queued;

typedef struct {
    PyObject_HEAD
    ar_state *state;
    ar_queued *commands;
    PyObject **arguments; /* of all commands; the first of each is its name */
    Py_ssize_t count, capacity;
    Py_ssize_t argument_count, argument_capacity;
    uint8_t all, any;       /* properties that all of the commands have, and that some have */
    uint8_t himport;        /* HIMPORT is among them */
    uint8_t empty_response; /* one has the option EMPTY_RESPONSE */
    uint8_t never_decode;   /* one has the option NEVER_DECODE */
    uint8_t plain;          /* all arguments are known to be plain: see ar_encode_is_plain */
} ArQueue;

ArQueue *ar_queue_new(ar_state *state);
ArQueue *ar_queue_copy(const ArQueue *queue);

/* Fills in the arguments of a command, its name being the first of them: new references. */
static inline void
ar_arguments_fill(PyObject **argv, PyObject *name, PyObject *const *rest, Py_ssize_t rest_count)
{
    argv[0] = Py_NewRef(name);
    for (Py_ssize_t i = 0; i < rest_count; i++) {
        argv[i + 1] = Py_NewRef(rest[i]);
    }
}

/* HIMPORT prepares connections in a way only redis-py's own code knows. */
int ar_queue_is_himport(PyObject *name);

/* Adds a command; `options` may be NULL. */
int ar_queue_append(ArQueue *queue, PyObject *name, PyObject *const *rest, Py_ssize_t rest_count,
                    PyObject *options, uint8_t properties);

/* A queue of some of the commands, those with these numbers. */
ArQueue *ar_queue_pick(const ArQueue *queue, const Py_ssize_t *numbers, Py_ssize_t count);

/* redis-py's form: a list of (arguments, options). */
PyObject *ar_queue_as_list(const ArQueue *queue);

static inline PyObject **
ar_queue_argv(const ArQueue *queue, Py_ssize_t number)
{
    return queue->arguments + (number > 0 ? queue->commands[number - 1].end : 0);
}

static inline Py_ssize_t
ar_queue_argc(const ArQueue *queue, Py_ssize_t number)
{
    return queue->commands[number].end - (number > 0 ? queue->commands[number - 1].end : 0);
}

/* Whether the reply to one command is binary whatever the client's setting. */
int ar_queue_never_decodes(const ArQueue *queue, Py_ssize_t number);

/* Appends all commands, between MULTI and EXEC for a transaction; nothing when one is bad. */
int ar_queue_encode(const ArQueue *queue, ar_outq *out, const ar_text_codec *codec,
                    int transaction);
/* A new reference to the queue, or to a copy with settled arguments (see ar_encode_settle); NULL with an
 * exception set. Python code may run. */
ArQueue *ar_queue_settle(ArQueue *queue, const ar_text_codec *codec);

int ar_queue_setup(PyObject *module, ar_state *state);

#endif
