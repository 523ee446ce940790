/* The life of a link and of those who wait for it. Waking a waiter may resume a task right here: hold a reference, and
 * look at the state again afterwards. */
#include "link.h"

/* Unread bytes held unless set_limit() says otherwise, and output from which on drain() waits. */
#define READ_LIMIT (4 * 1024 * 1024)
#define DRAIN_LIMIT (64 * 1024)

static const ar_command_ops connect_ops, wait_ops, drain_ops;

/* ---- waiters ---- */

static int
is_satisfied(const ArLink *self, const ArCommand *command)
{
    if (command->ops == &drain_ops) {
        return self->conn == NULL || ar_outq_pending(&self->conn->out) < DRAIN_LIMIT;
    }
    if (command->ops == &connect_ops) {
        return self->conn == NULL || self->conn->state == AR_CONN_READY;
    }
    return self->fresh || self->conn == NULL;
}

static void
finish(ArLink *self, ArCommand *command)
{
    if (command->ops != &connect_ops || self->conn != NULL) {
        ar_command_complete(command, Py_NewRef(Py_True));
    } else if (self->error != NULL) {
        ar_command_fail(command, ar_error_copy(self->error));
    } else {
        ar_command_fail(command, ar_error_format(self->state->ConnectionError,
                                                 "Connection closed by the client."));
    }
}

/* `resume`: called by libev itself, so that a waiting task can be resumed at once. */
static void
wake(ArLink *self, int resume)
{
    size_t count = self->waiters.count;
    Py_INCREF(self);
    while (count-- > 0 && self->waiters.count > 0) {
        ArCommand *command = ar_ring_pop(&self->waiters);
        if (ar_command_finished(command)) {
            Py_DECREF(command);
        } else if (!is_satisfied(self, command)) {
            ar_ring_push(&self->waiters, command); /* into the place it has left */
        } else {
            self->core->delivering = resume;
            finish(self, command);
            self->core->delivering = 0;
            Py_DECREF(command);
        }
    }
    Py_DECREF(self);
}

static void
arm_timer(ArLink *self)
{
    double next = 0.0;
    if (self->conn == NULL) {
        return;
    }
    for (size_t i = 0; i < self->waiters.count; i++) {
        const ArCommand *command = ar_ring_at(&self->waiters, i);
        if (!ar_command_finished(command) && command->deadline != 0.0 &&
            (next == 0.0 || command->deadline < next)) {
            next = command->deadline;
        }
    }
    if (next != 0.0) {
        double left = next - ar_monotonic();
        ar_core_timer_start(self->core, &self->timer, left > 0.0 ? left : 0.0);
    }
}

/* The time of a block of timeout() is over. */
static void
fail_expired(const ArLink *self, ArCommand *command, double now)
{
    ar_stall stall = {.phase = AR_PHASE_WRITTEN, .total = 1, .silent_for = -1.0};
    const ar_conn *conn = self->conn;
    if (conn != NULL && conn->state == AR_CONN_READY) {
        stall.unsent_bytes = ar_outq_pending(&conn->out);
        stall.silent_for = conn->silent_since != 0.0 ? now - conn->silent_since : -1.0;
    } else {
        stall.phase = AR_PHASE_CONNECTION;
    }
    PyObject *exception = ar_error_timeout(command->state, &self->config->endpoint, &stall);
    ar_command_fail(command, exception != NULL ? exception : ar_exception_take());
}

static void
on_deadline(struct ev_loop *Py_UNUSED(ev), ev_timer *timer, int Py_UNUSED(events))
{
    ArLink *self = timer->data;
    double now = ar_monotonic();
    size_t count = self->waiters.count;
    Py_INCREF(self);
    while (count-- > 0 && self->waiters.count > 0) {
        ArCommand *command = ar_ring_pop(&self->waiters);
        if (ar_command_finished(command)) {
            Py_DECREF(command);
        } else if (command->deadline == 0.0 || command->deadline > now) {
            ar_ring_push(&self->waiters, command);
        } else if (command->deadline == command->expires) {
            fail_expired(self, command, now);
            Py_DECREF(command);
        } else {
            ar_command_complete(command, Py_NewRef(Py_False));
            Py_DECREF(command);
        }
    }
    arm_timer(self);
    Py_DECREF(self);
}

/* Those who gave up are dropped here, so that they cannot pile up on a silent connection. */
static int
enlist(ArLink *self, ArCommand *command)
{
    for (ArCommand *first;
         (first = ar_ring_peek(&self->waiters)) != NULL && ar_command_finished(first);) {
        (void)ar_ring_pop(&self->waiters);
        Py_DECREF(first);
    }
    if (ar_ring_reserve(&self->waiters) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    Py_INCREF(command);
    ar_ring_push(&self->waiters, command);
    if (command->timeout > 0.0) {
        command->deadline = ar_monotonic() + command->timeout;
    }
    if (command->expires != 0.0 &&
        (command->deadline == 0.0 || command->expires < command->deadline)) {
        command->deadline = command->expires;
    }
    if (command->deadline != 0.0) {
        arm_timer(self);
    }
    return 0;
}

/* ---- what the connection reports ---- */

static void
forget_connection(ArLink *self, int reuse)
{
    ar_conn *conn = self->conn;
    ArPool *pool = self->pool;
    ArCore *core = (ArCore *)Py_NewRef((PyObject *)self->core);
    self->conn = NULL; /* first: it may be connected anew from within what follows */
    self->pool = NULL;
    if (self->core->ev != NULL) {
        ev_timer_stop(self->core->ev, &self->timer);
    }
    if (pool != NULL) {
        ar_pool_take_back(pool, conn, reuse);
        Py_DECREF(pool);
    } else {
        ar_conn_close(conn);
        ar_conn_unref(conn);
        ar_core_detach(core);
    }
    Py_DECREF(core);
}

static void
link_ready(ar_conn *conn)
{
    wake(conn->owner, 1);
}

static void
link_lost(ar_conn *conn, PyObject *reason, int Py_UNUSED(fatal))
{
    ArLink *self = conn->owner;
    Py_INCREF(self);
    Py_XSETREF(self->error, Py_NewRef(reason));
    forget_connection(self, 0);
    wake(self, 0);
    Py_DECREF(self);
}

static void
link_idle(ar_conn *Py_UNUSED(conn))
{
}

static void
link_progress(ar_conn *conn)
{
    ArLink *self = conn->owner;
    if (self->waiters.count > 0) {
        wake(self, 0);
    }
}

static void
link_push(ar_conn *Py_UNUSED(conn), PyObject *message)
{
    /* Only ever before the connection is ready: nobody has subscribed to anything. */
    Py_DECREF(message);
}

static void
resume_job(PyObject *subject)
{
    ArLink *self = (ArLink *)subject;
    if (self->conn != NULL) {
        ar_conn_resume(self->conn);
    }
}

static void
link_resume_later(ar_conn *conn)
{
    ArLink *self = conn->owner;
    if (ar_core_schedule_job(self->core, resume_job, (PyObject *)self) < 0) {
        PyErr_Clear(); /* the loop is closed: nobody is waiting any more */
    }
}

static void
link_settled(ar_conn *conn)
{
    ArLink *self = conn->owner;
    if (self->fresh && self->waiters.count > 0) {
        wake(self, 1);
    }
}

static const ar_conn_owner link_owner = {
    .ready = link_ready,
    .lost = link_lost,
    .idle = link_idle,
    .progress = link_progress,
    .push = link_push,
    .resume_later = link_resume_later,
    .bytes = ar_link_bytes,
    .settled = link_settled,
};

/* ---- connecting and being lent ---- */

ArLink *
ar_link_new(ar_state *state, ArConfig *config)
{
    ArLink *self = (ArLink *)state->LinkType->tp_alloc(state->LinkType, 0);
    if (self == NULL) {
        return NULL;
    }
    self->state = state;
    self->config = (ArConfig *)Py_NewRef((PyObject *)config);
    self->limit = READ_LIMIT;
    if (ar_inlet_init(&self->inlet, state, config->codec.encoding, config->codec.errors) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return self;
}

static void
enter_core(ArLink *self, ArCore *core)
{
    Py_XSETREF(self->core, (ArCore *)Py_NewRef((PyObject *)core));
    ar_libev_timer_init(&self->timer, on_deadline, self);
}

static ArCommand *
make_waiter(ArLink *self, const ar_command_ops *ops, const char *label, double timeout)
{
    PyObject *name = PyUnicode_InternFromString(label);
    if (name == NULL) {
        return NULL;
    }
    ArCommand *command = ar_command_new(self->state, ops, (PyObject *)self, name, NULL, 0);
    Py_DECREF(name);
    if (command != NULL) {
        command->timeout = timeout;
    }
    return command;
}

/* The running loop has to be the link's own. */
static int
start_on_loop(ArLink *self, ArCommand *command)
{
    if (command->core == NULL && (command->core = ar_core_get(self->state)) == NULL) {
        return -1;
    }
    if (self->conn != NULL && command->core != self->core) {
        PyErr_SetString(PyExc_RuntimeError, "this connection belongs to another event loop");
        return -1;
    }
    return 0;
}

static int
start_waiting(ArCommand *command)
{
    ArLink *self = (ArLink *)command->owner;
    if (start_on_loop(self, command) < 0) {
        return -1;
    }
    if (is_satisfied(self, command)) {
        finish(self, command);
        return 0;
    }
    return enlist(self, command);
}

static int
start_connecting(ArCommand *command)
{
    ArLink *self = (ArLink *)command->owner;
    if (start_on_loop(self, command) < 0) {
        return -1;
    }
    if (self->conn == NULL && self->inlet.busy) {
        PyErr_SetString(PyExc_RuntimeError, "a reply of this connection is being read");
        return -1;
    }
    if (self->conn == NULL) {
        ar_conn *conn = ar_conn_new(command->core, self->config, AR_LANE_LEASED, &link_owner, self);
        if (conn == NULL) {
            return -1;
        }
        enter_core(self, command->core);
        ar_core_attach(self->core);
        if (ar_inlet_reset(&self->inlet) < 0) {
            ar_conn_unref(conn);
            ar_core_detach(self->core);
            return -1;
        }
        self->fresh = self->paused = self->pushed = 0;
        self->watching = self->queueing = self->changed = 0;
        self->unanswered = 0;
        Py_CLEAR(self->kept);
        Py_CLEAR(self->error);
        self->conn = conn;
        ar_conn_open(conn);
    }
    if (is_satisfied(self, command)) {
        finish(self, command);
        return 0;
    }
    return enlist(self, command);
}

static const ar_command_ops connect_ops = {.start = start_connecting};
static const ar_command_ops wait_ops = {.start = start_waiting};
static const ar_command_ops drain_ops = {.start = start_waiting};

PyObject *
ar_link_connect(ArLink *self)
{
    return (PyObject *)make_waiter(self, &connect_ops, "CONNECT", 0.0);
}

PyObject *
ar_link_wait(ArLink *self, double timeout)
{
    return (PyObject *)make_waiter(self, &wait_ops, "READ", timeout > 0.0 ? timeout : 0.0);
}

PyObject *
ar_link_drain(ArLink *self)
{
    return (PyObject *)make_waiter(self, &drain_ops, "WRITE", 0.0);
}

int
ar_link_lend(ArCommand *command, void *connection, void *lender)
{
    ar_conn *conn = connection;
    ArLink *self = ar_link_new(command->state, conn->config);
    if (self == NULL) {
        return -1;
    }
    /* Making it may have run finalizers, and they may have given the command up, or closed the client. */
    if (ar_command_finished(command)) {
        Py_DECREF(self);
        return 0;
    }
    if (conn->state == AR_CONN_CLOSED) {
        PyErr_SetString(self->state->ConnectionError, "Connection closed by the client.");
        Py_DECREF(self);
        return -1;
    }
    const redisReader *reader = conn->context->reader;
    if (ar_inlet_append(&self->inlet, reader->buf + reader->pos, reader->len - reader->pos) < 0 ||
        ar_pool_lend(lender, conn) < 0) {
        Py_DECREF(self);
        return -1;
    }
    enter_core(self, conn->core);
    self->pool = (ArPool *)Py_NewRef(lender);
    self->conn = conn;
    conn->calls = &link_owner;
    conn->owner = self;
    ar_command_complete(command, (PyObject *)self);
    return 0;
}

/* ---- closing ---- */

static int
is_clean(const ArLink *self)
{
    return ar_link_is_open(self) && self->unanswered == 0 && !self->watching && !self->queueing &&
           !self->changed && !self->paused && ar_inlet_pending(&self->inlet) == 0 &&
           self->waiters.count == 0;
}

void
ar_link_discard(ArLink *self)
{
    ar_ring waiters = ar_ring_take(&self->waiters);
    for (ArCommand *command; (command = ar_ring_pop(&waiters)) != NULL;) {
        if (!ar_command_finished(command)) {
            command->status = AR_CLOSED;
        }
        Py_DECREF(command);
    }
    ar_ring_free(&waiters);
    if (self->conn != NULL) {
        forget_connection(self, 0);
    }
}

void
ar_link_close(ArLink *self, int reuse)
{
    if (self->conn == NULL) {
        return;
    }
    Py_INCREF(self);
    int clean = reuse && is_clean(self);
    if (self->conn != NULL) { /* else looking has run finalizers, and they have closed it */
        forget_connection(self, clean);
    }
    wake(self, 0);
    Py_DECREF(self);
}
