/* Module state, declared once: the X-macro below makes the struct, its traverse and its clear. */
#ifndef AR_STATE_H
#define AR_STATE_H

#include "compat.h"

/* Types of ours. */
#define AR_STATE_TYPES(X)                                                                          \
    X(PyTypeObject, QueueType)                                                                     \
    X(PyTypeObject, CoreType)                                                                      \
    X(PyTypeObject, CommandType)                                                                   \
    X(PyTypeObject, CommandFutureType)                                                             \
    X(PyTypeObject, ConfigType)                                                                    \
    X(PyTypeObject, PoolType)                                                                      \
    X(PyTypeObject, LinkType)                                                                      \
    X(PyTypeObject, TransportType)                                                                 \
    X(PyTypeObject, ClusterType)                                                                   \
    X(PyTypeObject, ForwardType)                                                                   \
    X(PyTypeObject, ClientType)                                                                    \
    X(PyTypeObject, PipelineType)                                                                  \
    X(PyTypeObject, TimeoutType)                                                                   \
    X(PyTypeObject, ReaderType)

/* Handed over once by aiecs_redis._bind through configure(): the core imports nothing of redis-py. */
#define AR_STATE_BOUND(X)                                                                          \
    X(PyObject, ConnectionError)                                                                   \
    X(PyObject, CommandTimeoutError)                                                               \
    X(PyObject, CircuitOpenError)                                                                  \
    X(PyObject, DataError)                                                                         \
    X(PyObject, InvalidResponse)                                                                   \
    X(PyObject, AuthenticationError)                                                               \
    X(PyObject, ReadOnlyError)                                                                     \
    X(PyObject, OutcomeUnknownError)                                                               \
    X(PyObject, MovedError)                                                                        \
    X(PyObject, AskError)                                                                          \
    X(PyObject, TryAgainError)                                                                     \
    X(PyObject, ClusterDownError)                                                                  \
    X(PyObject, SlotNotCoveredError)                                                               \
    X(PyObject, ClusterError)                                                                      \
    X(PyObject, CrossSlotError)                                                                    \
    X(PyObject, parse_error)                                                                       \
    X(PyObject, converters)                                                                        \
    X(PyObject, python_client)                                                                     \
    X(PyObject, python_pipeline)                                                                   \
    X(PyObject, truth_awaitable)                                                                   \
    X(PyObject, guard_awaitable)                                                                   \
    X(PyObject, resolve_awaitable)

/* Imported or made at module initialization. */
#define AR_STATE_OWN(X)                                                                            \
    X(PyObject, scope_variable)                                                                    \
    X(PyObject, cores)                                                                             \
    X(PyObject, get_running_loop)                                                                  \
    X(PyObject, running_loop_or_none)                                                              \
    X(PyObject, socket_module)                                                                     \
    X(PyObject, CancelledError)                                                                    \
    X(PyObject, InvalidStateError)                                                                 \
    X(PyObject, str_is_closed)                                                                     \
    X(PyObject, str_message)                                                                       \
    X(PyObject, str_exception)                                                                     \
    X(PyObject, str_future)                                                                        \
    X(PyObject, str_NEVER_DECODE)                                                                  \
    X(PyObject, str_EMPTY_RESPONSE)                                                                \
    X(PyObject, str_keys)                                                                          \
    X(PyObject, str_target_nodes)                                                                  \
    X(PyObject, str_execute_command)                                                               \
    X(PyObject, str_response_callbacks)                                                            \
    X(PyObject, str_connection)                                                                    \
    X(PyObject, str_watching)                                                                      \
    X(PyObject, str_pipeline_execute_command)                                                      \
    X(PyObject, bytes_ok)                                                                          \
    X(PyObject, str_type)                                                                          \
    X(PyObject, str_pattern)                                                                       \
    X(PyObject, str_channel)                                                                       \
    X(PyObject, str_data)                                                                          \
    X(PyObject, str_pmessage)                                                                      \
    X(PyObject, str_smessage)                                                                      \
    X(PyObject, not_ready)                                                                         \
    X(PyObject, str_ok)                                                                            \
    X(PyObject, bytes_queued)                                                                      \
    X(PyObject, str_queued)                                                                        \
    X(PyObject, hot_names)

struct ArCommand;

#define AR_KNOWN_NAMES 64

/* What keyspec.c has found for an interned name. */
typedef struct {
    PyObject *name; /* owned, so that nothing else can be at its address; or NULL */
    const void *entry;
} ar_known_name;

typedef struct ar_state {
#define X(type, name) type *name;
    AR_STATE_TYPES(X)
    AR_STATE_BOUND(X)
    AR_STATE_OWN(X)
#undef X
    /* The method definition of the C Task's wake-up callback, learnt on first sight. */
    PyMethodDef *task_wakeup;
    /* Memory of commands that are gone, for the next ones (command.c). */
    struct ArCommand *spares;
    int spare_count;
    /* Commands looked up last, at places given by the addresses of their names (keyspec.c). */
    ar_known_name known_names[AR_KNOWN_NAMES];
    /* Blocks of timeout() that have been entered and not left, on whatever thread. */
    Py_ssize_t open_scopes;
    double busy_poll; /* seconds, see busypoll.h */
} ar_state;

#endif
