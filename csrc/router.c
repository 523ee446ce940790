/* The part of a cluster that belongs to one loop: commands that wait for a node, and one timer for all that is
 * to be done later. */
#include "cluster.h"

#include <string.h>

/* Seconds. */
#define LOOK_EVERY 0.2        /* at nodes that leave commands without an answer */
#define SILENT_AFTER 0.4      /* without one, a node may have been replaced */
#define REFRESH_PAUSE 0.1     /* between two looks at the topology */
#define SILENT_PAUSE 0.4      /* the same, when a silent node is all there is to say for it */
#define PATIENCE_UNTIMED 10.0 /* of commands of a client without timeouts */

static void on_timer(struct ev_loop *ev, ev_timer *timer, int events);

/* ---- its life ---- */

void
ar_router_unref(ar_router *router)
{
    if (--router->references == 0) {
        PyMem_Free(router->lobby);
        Py_DECREF(router->core);
        PyMem_Free(router);
    }
}

static ar_router *
hold(ar_router *router)
{
    if (router != NULL) {
        router->references++;
    }
    return router;
}

/* Takes it off the list and ends it; what waits fails with `reason` (borrowed), or nobody is told. */
static void
close_router(ArCluster *self, ar_router *router, PyObject *reason)
{
    for (ar_router **link = &self->routers; *link != NULL; link = &(*link)->next) {
        if (*link == router) {
            *link = router->next;
            break;
        }
    }
    if (self->router == router) {
        self->router = NULL;
    }
    if (router->core->ev != NULL) {
        ev_timer_stop(router->core->ev, &router->timer);
    }
    for (size_t i = 0; i < router->count; i++) {
        ArCommand *command = router->lobby[i].command;
        if (!ar_command_finished(command) && reason != NULL) {
            ar_command_fail(command, ar_error_copy(reason));
        } else if (!ar_command_finished(command)) {
            command->status = AR_CLOSED;
        }
        Py_XDECREF(router->lobby[i].reason);
        Py_DECREF(command);
    }
    router->count = 0;
    router->cluster = NULL;
    ar_core_detach(router->core);
    ar_router_unref(router);
}

static int
is_usable(const ar_router *router)
{
    return router->core->ev != NULL && ar_core_alive(router->core);
}

void
ar_router_close_all(ArCluster *self, PyObject *reason)
{
    while (self->routers != NULL) {
        ar_router *router = hold(self->routers);
        int usable = is_usable(router);
        if (router->cluster != NULL) {
            close_router(self, router, usable ? reason : NULL);
        }
        ar_router_unref(router);
    }
}

int
ar_router_traverse(ar_router *router, visitproc visit, void *arg)
{
    Py_VISIT((PyObject *)router->core);
    for (size_t i = 0; i < router->count; i++) {
        Py_VISIT((PyObject *)router->lobby[i].command);
        Py_VISIT(router->lobby[i].reason);
    }
    return 0;
}

/* One whose loop was closed under it, or NULL. */
static ar_router *
find_unusable(const ArCluster *self)
{
    for (ar_router *router = self->routers, *next; router != NULL; router = next) {
        hold(router); /* a loop that is asked runs Python code, and it may close the router */
        int unusable = !is_usable(router);
        int known = router->cluster != NULL;
        next = known ? router->next : self->routers;
        ar_router_unref(router);
        if (known && unusable) {
            return router;
        }
    }
    return NULL;
}

static ar_router *
new_router(ArCluster *self, ArCore *core)
{
    ar_router *router = PyMem_Calloc(1, sizeof(*router));
    if (router == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    router->references = 1;
    router->cluster = self;
    router->core = (ArCore *)Py_NewRef((PyObject *)core);
    ar_libev_timer_init(&router->timer, on_timer, router);
    ar_core_attach(core); /* first: what ends with the others may run finalizers */
    for (ar_router *dead; (dead = find_unusable(self)) != NULL;) {
        close_router(self, dead, NULL);
    }
    router->next = self->routers;
    self->routers = router;
    return router;
}

static ar_router *
find_router(const ArCluster *self, const ArCore *core)
{
    ar_router *router = self->routers;
    while (router != NULL && router->core != core) {
        router = router->next;
    }
    return router;
}

ar_router *
ar_router_on(const ArCluster *self, const ArCore *core)
{
    return hold(find_router(self, core));
}

ar_router *
ar_router_of(ArCluster *self, ArCommand *command)
{
    const ar_router *recent = self->router;
    if (ar_transport_enter(command, recent != NULL ? recent->core : NULL) < 0) {
        return NULL;
    }
    if (recent == NULL || recent->core != command->core) {
        ar_router *router = find_router(self, command->core);
        self->router = router != NULL ? router : new_router(self, command->core);
    }
    return hold(self->router);
}

/* ---- its timer ---- */

static void
earlier(double *when, double other)
{
    if (other > 0.0 && (*when == 0.0 || other < *when)) {
        *when = other;
    }
}

/* When an entry is to be looked at next, 0.0: when there is a topology. */
static double
entry_due(const ar_lobby_entry *entry)
{
    double due = entry->at;
    earlier(&due, entry->command->patient_till);
    earlier(&due, entry->command->expires);
    return due;
}

/* Has the timer run at `due` at the latest; 0.0: it need not. */
static void
arm_at(ar_router *router, double due)
{
    if (due == 0.0 || router->working) {
        return; /* the timer's callback arms it at its end */
    }
    if (!ar_libev_timer_active(&router->timer) || due < router->timer_at) {
        double left = due - ar_monotonic();
        router->timer_at = due;
        ar_core_timer_start(router->core, &router->timer, left > 0.0 ? left : 0.0);
    }
}

static void
arm(ar_router *router)
{
    double due = router->look_at;
    if (!router->refreshing) {
        earlier(&due, router->refresh_at);
    }
    for (size_t i = 0; i < router->count; i++) {
        earlier(&due, entry_due(&router->lobby[i]));
    }
    arm_at(router, due);
}

void
ar_router_want_refresh(ar_router *router, double delay)
{
    if (router->cluster == NULL) {
        return;
    }
    double at = ar_monotonic() + delay;
    earlier(&router->refresh_at, at > router->earliest ? at : router->earliest);
    if (!router->refreshing) {
        arm_at(router, router->refresh_at);
    }
}

void
ar_router_watch(ar_router *router)
{
    if (router->cluster == NULL) {
        return;
    }
    router->look_at = ar_monotonic() + LOOK_EVERY;
    arm_at(router, router->look_at);
}

/* ---- the lobby ---- */

static double
patience_of(const ArCluster *self, const ArCommand *command)
{
    if (self->patience <= 0.0) {
        return 0.0;
    }
    return command->timeout > 0.0 ? command->timeout : PATIENCE_UNTIMED;
}

int
ar_router_wait(ar_router *router, ArCommand *command, PyObject *reason, double delay)
{
    double now = ar_monotonic();
    if (router->cluster == NULL) {
        PyErr_SetString(router->core->state->ConnectionError, "Connection closed by the client.");
        return -1;
    }
    if (delay >= 0.0) {
        if (command->patient_till == 0.0) {
            command->patient_till = now + patience_of(router->cluster, command);
        }
        if (command->patient_till <= now) {
            ar_command_fail(command, ar_error_copy(reason));
            return 0;
        }
    }
    if (router->count == router->capacity) {
        size_t wanted = router->capacity ? router->capacity * 2 : 16;
        ar_lobby_entry *larger = PyMem_Realloc(router->lobby, wanted * sizeof(*larger));
        if (larger == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        router->lobby = larger;
        router->capacity = wanted;
    }
    router->lobby[router->count++] = (ar_lobby_entry){
        .command = (ArCommand *)Py_NewRef((PyObject *)command),
        .reason = Py_XNewRef(reason),
        .at = delay >= 0.0 ? now + delay : 0.0,
    };
    /* Of the others the timer knows: thousands may wait for the first topology. */
    arm_at(router, entry_due(&router->lobby[router->count - 1]));
    return 0;
}

int
ar_router_await_topology(ArCluster *self, ArCommand *command)
{
    ar_router *router = ar_router_of(self, command);
    if (router == NULL) {
        return -1;
    }
    ar_router_want_refresh(router, 0.0);
    int result = ar_router_wait(router, command, NULL, -1.0);
    ar_router_unref(router);
    return result;
}

/* Its time is over. Without a `reason` it waits for a topology, for the first time or again. */
static void
give_up(const ArCluster *self, ArCommand *command, PyObject *reason, double now)
{
    int expired = command->expires != 0.0 && command->expires <= now;
    if (expired || reason == NULL) {
        ar_stall stall = {
            .phase = AR_PHASE_CONNECTION, .unsent = 1, .total = expired, .silent_for = -1.0};
        ar_endpoint endpoint = {.host = "cluster"};
        PyObject *exception = ar_error_timeout(self->state, &endpoint, &stall);
        ar_command_fail(command, exception != NULL ? exception : ar_exception_take());
    } else {
        ar_command_fail(command, ar_error_copy(reason));
    }
}

/* Looks at every entry that is due, or, with a new topology, at all: it is sent, or fails. */
static void
process_lobby(ar_router *router, int updated)
{
    ArCluster *self = router->cluster;
    ar_lobby_entry *entries = router->lobby;
    size_t count = router->count;
    double now = ar_monotonic();
    router->lobby = NULL;
    router->count = router->capacity = 0;
    for (size_t i = 0; i < count; i++) {
        ArCommand *command = entries[i].command;
        PyObject *reason = entries[i].reason;
        int over = (command->patient_till != 0.0 && command->patient_till <= now) ||
                   (command->expires != 0.0 && command->expires <= now);
        if (ar_command_finished(command) || router->cluster == NULL) {
            /* given up, or the cluster was closed by what ran here */
            if (!ar_command_finished(command)) {
                ar_command_fail(command, ar_error_format(self->state->ConnectionError,
                                                         "Connection closed by the client."));
            }
        } else if (over) {
            give_up(self, command, reason, now);
        } else if (updated || (entries[i].at != 0.0 && entries[i].at <= now)) {
            if (ar_cluster_submit(self, command) < 0) {
                ar_command_fail_pending_exception(command);
            }
        } else {
            double delay = entries[i].at != 0.0 ? entries[i].at - now : -1.0;
            if (ar_router_wait(router, command, reason, delay) < 0) {
                ar_command_fail_pending_exception(command);
            }
        }
        Py_XDECREF(reason);
        Py_DECREF(command);
    }
    PyMem_Free(entries);
}

/* ---- nodes that do not answer ---- */

static void
look_at_nodes(ar_router *router)
{
    ArCluster *self = router->cluster;
    int busy = 0, silent = 0;
    for (int i = 0; i < self->node_count; i++) {
        const ArPool *pool = ar_transport_pool(self->nodes[i]->transport, router->core);
        double silence = pool != NULL ? ar_pool_silence(pool) : 0.0;
        busy |= silence > 0.0;
        silent |= silence > SILENT_AFTER;
    }
    router->look_at = busy ? ar_monotonic() + LOOK_EVERY : 0.0;
    if (silent) {
        double at = router->earliest - REFRESH_PAUSE + SILENT_PAUSE, now = ar_monotonic();
        ar_router_want_refresh(router, at > now ? at - now : 0.0);
    }
}

static void
call_refresh(ar_router *router)
{
    ArCluster *self = router->cluster;
    router->refresh_at = 0.0;
    router->refreshing = 1;
    self->refreshes++;
    PyObject *result = PyObject_CallNoArgs(self->refresh);
    if (result == NULL) {
        PyObject *exception = ar_exception_take();
        if (ar_is_interrupt(exception)) {
            router->refreshing = 0; /* nobody has been asked */
            router->refresh_at = router->earliest = ar_monotonic() + REFRESH_PAUSE;
            ar_core_interrupt(router->core, exception);
        } else {
            if (router->cluster != NULL) {
                ar_router_failed(router, exception);
            }
            Py_DECREF(exception);
        }
    }
    Py_XDECREF(result);
}

static void
on_timer(struct ev_loop *Py_UNUSED(ev), ev_timer *timer, int Py_UNUSED(events))
{
    ar_router *router = hold(timer->data);
    ArCluster *self = (ArCluster *)Py_NewRef((PyObject *)router->cluster);
    double now = ar_monotonic();
    router->working = 1;
    router->timer_at = 0.0;
    if (router->look_at != 0.0 && router->look_at <= now) {
        look_at_nodes(router);
    }
    if (router->count > 0) {
        process_lobby(router, 0);
    }
    if (router->cluster != NULL && !router->refreshing && router->refresh_at != 0.0 &&
        router->refresh_at <= ar_monotonic()) {
        call_refresh(router);
    }
    router->working = 0;
    if (router->cluster != NULL) {
        arm(router);
    }
    ar_router_unref(router);
    Py_DECREF(self);
}

/* ---- a new topology ---- */

void
ar_router_updated(ar_router *router)
{
    ArCluster *self = (ArCluster *)Py_NewRef((PyObject *)router->cluster);
    int working = router->working;
    router->working = 1;
    router->refreshing = 0;
    router->earliest = ar_monotonic() + REFRESH_PAUSE;
    for (int i = 0; i < self->node_count && router->cluster != NULL; i++) {
        ar_redirect_waiting(self->nodes[i], router->core, SILENT_AFTER);
    }
    if (router->cluster != NULL && router->count > 0) {
        process_lobby(router, 1);
    }
    router->working = working;
    if (router->cluster != NULL) {
        arm(router);
    }
    Py_DECREF(self);
}

void
ar_router_failed(ar_router *router, PyObject *reason)
{
    ArCluster *self = router->cluster;
    router->refreshing = 0;
    router->earliest = ar_monotonic() + REFRESH_PAUSE;
    if (self->shard_count > 0) {
        arm(router); /* what waits goes on waiting, each as long as it may */
        return;
    }
    ar_lobby_entry *entries = router->lobby;
    size_t count = router->count;
    router->lobby = NULL;
    router->count = router->capacity = 0;
    router->refresh_at = 0.0;
    Py_INCREF(self);
    for (size_t i = 0; i < count; i++) {
        ar_command_fail(entries[i].command, ar_error_copy(reason)); /* nothing, if it is finished */
        Py_XDECREF(entries[i].reason);
        Py_DECREF(entries[i].command);
    }
    PyMem_Free(entries);
    Py_DECREF(self);
}
