/* The life of cores: made for a running loop, found again by it, closed with the last pool, dead after fork(). */
#include "loop.h"

/* Counts fork()s of this process: a property of the process, hence not in the module state. */
static volatile unsigned process_generation;

void
ar_core_after_fork(void)
{
    process_generation++;
}

/* Without making an object, so that no finalizer runs: most who ask go on with what they have in hand. */
static int
loop_is_running(const ArCore *core)
{
    PyObject *asking = core->state->running_loop_or_none;
    PyObject *running = asking != NULL ? PyObject_CallNoArgs(asking) : NULL;
    if (running == NULL) {
        PyErr_Clear();
        return 0;
    }
    Py_DECREF(running);
    return running == core->loop;
}

static int
loop_is_closed(const ArCore *core)
{
    if (loop_is_running(core)) {
        return 0;
    }
    PyObject *name = core->state->str_is_closed;
    PyObject *closed = name != NULL ? PyObject_CallMethodNoArgs(core->loop, name) : NULL;
    if (closed == NULL) {
        /* Without memory to ask: a closed loop will refuse, of one that runs nobody may be forgotten. */
        int unknown = PyErr_ExceptionMatches(PyExc_MemoryError);
        PyErr_Clear();
        return !unknown;
    }
    int result = PyObject_IsTrue(closed);
    Py_DECREF(closed);
    return result;
}

int
ar_core_same_process(const ArCore *core)
{
    return core->generation == process_generation;
}

int
ar_core_alive(const ArCore *core)
{
    return ar_core_same_process(core) && !loop_is_closed(core);
}

/* ---- memory, asked for where there is a way to fail ---- */

/* Watchers of one connection, and of one pool, at most. */
#define WATCHERS_EACH 4
/* For pools that start a timer before their first connection. */
#define WATCHERS_SPARE 64

int
ar_core_reserve(ArCore *core, int fd)
{
    int watchers = (core->connections + core->users) * WATCHERS_EACH + WATCHERS_SPARE;
    if (core->ev != NULL && ar_libev_reserve(core->ev, fd, watchers) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

static void
on_waker(struct ev_loop *Py_UNUSED(ev), ev_io *watcher, int Py_UNUSED(events))
{
    ArCore *core = watcher->data;
    ar_libev_waker_silence(core->waker);
    core->turn_owed = 1;
}

static int
start_waker(ArCore *core)
{
    if (ar_libev_waker_open(core->waker) < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    if (ar_core_reserve(core, core->waker[0]) < 0) {
        return -1;
    }
    ar_libev_io_init(&core->waker_watcher, on_waker, core->waker[0], EV_READ, core);
    ev_io_start(core->ev, &core->waker_watcher);
    ev_run(core->ev, EVRUN_NOWAIT); /* from now on the kernel knows of it */
    return 0;
}

/* asyncio watches libev's descriptor. -1 with an exception set. */
static int
join_asyncio(ArCore *core)
{
    PyObject *result = PyObject_CallMethod(core->loop, "add_reader", "iO",
                                           ar_libev_backend_fd(core->ev), core->drain_method);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* ---- closing ---- */

static void
destroy_libev(ArCore *core, struct ev_loop *ev)
{
    ev_loop_destroy(ev);
    ar_libev_waker_close(core->waker);
}

static PyObject *
stop_watching(ArCore *core, struct ev_loop *ev)
{
    return PyObject_CallMethod(core->loop, "remove_reader", "i", ar_libev_backend_fd(ev));
}

/* -1: a descriptor that asyncio watches must not be closed, and there was no memory to tell it so. */
static int
leave_asyncio(ArCore *core, struct ev_loop *ev)
{
    PyObject *result = stop_watching(core, ev);
    if (result == NULL && PyErr_ExceptionMatches(PyExc_MemoryError)) {
        PyErr_Clear();
        return -1;
    }
    if (result == NULL) {
        PyErr_WriteUnraisable(core->loop);
    }
    Py_XDECREF(result);
    ar_core_cancel_timer(core);
    return 0;
}

void
ar_core_renew_if_stale(ArCore *core)
{
    if (core->ev == NULL || !ar_libev_is_stale(core->ev)) {
        return;
    }
    PyObject *result = stop_watching(core, core->ev);
    if (result == NULL) {
        PyErr_Clear(); /* it is closed in any case */
    }
    Py_XDECREF(result);
    if (core->ev == NULL) {
        return;
    }
    ar_libev_renew(core->ev);
    core->watchers_changed = 1;
    if (join_asyncio(core) < 0) {
        ar_core_report(core, "Cannot watch the connections", ar_exception_take(), NULL);
    }
}

void
ar_core_close(ArCore *core)
{
    if (core->ev == NULL) {
        return;
    }
    PyObject *pending = ar_exception_take();
    struct ev_loop *ev = core->ev;
    core->ev = NULL;
    if (ar_core_alive(core) && leave_asyncio(core, ev) < 0) {
        core->ev = ev;
        ar_libev_waker_ring(core->waker); /* the next drain tries again */
    } else {
        if (ar_core_find(core->state, core->loop) == core &&
            PyDict_DelItem(core->state->cores, core->loop) < 0) {
            PyErr_Clear();
        }
        ar_core_flush_dirty(core); /* closed connections: lets go of them */
        destroy_libev(core, ev);
    }
    if (pending != NULL) {
        ar_exception_restore(pending);
    }
}

void
ar_core_attach(ArCore *core)
{
    core->users++;
}

void
ar_core_detach(ArCore *core)
{
    core->users--;
    /* Inside of a drain libev is on the stack: drain() closes at its end. */
    if (core->users == 0 && core->drain_thread == NULL) {
        Py_INCREF(core);
        ar_core_close(core);
        Py_DECREF(core);
    }
}

static void
jobs_clear(ArCore *self)
{
    ar_job *jobs = self->jobs;
    size_t count = self->job_count;
    self->jobs = NULL;
    self->job_count = self->job_capacity = 0;
    for (size_t i = 0; i < count; i++) {
        ar_job_clear(&jobs[i]);
    }
    PyMem_Free(jobs);
}

static int
core_traverse(ArCore *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->loop);
    Py_VISIT(self->module);
    Py_VISIT(self->call_soon);
    Py_VISIT(self->call_later);
    Py_VISIT(self->drain_method);
    Py_VISIT(self->turn_method);
    Py_VISIT(self->timer_method);
    Py_VISIT(self->busypoll.ready);
    Py_VISIT(self->done);
    Py_VISIT(self->timer_handle);
    Py_VISIT(self->interrupt);
    for (size_t i = 0; i < self->job_count; i++) {
        Py_VISIT(self->jobs[i].subject);
        Py_VISIT(self->jobs[i].callback);
        Py_VISIT(self->jobs[i].context);
    }
    return 0;
}

static int
core_clear(ArCore *self)
{
    jobs_clear(self);
    Py_CLEAR(self->call_soon);
    Py_CLEAR(self->call_later);
    Py_CLEAR(self->drain_method);
    Py_CLEAR(self->turn_method);
    Py_CLEAR(self->timer_method);
    Py_CLEAR(self->busypoll.ready);
    Py_CLEAR(self->done);
    Py_CLEAR(self->timer_handle);
    Py_CLEAR(self->interrupt);
    return 0;
}

static void
core_dealloc(ArCore *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (self->ev != NULL) {
        destroy_libev(self, self->ev);
    }
    (void)core_clear(self);
    Py_CLEAR(self->loop);
    PyObject *module = self->module;
    type->tp_free(self);
    Py_DECREF(type);
    Py_XDECREF(module);
}

/* ---- making ---- */

ArCore *
ar_core_find(ar_state *state, PyObject *loop)
{
    if (state->cores == NULL) { /* the module is being torn down, and what is left of us with it */
        return NULL;
    }
    return (ArCore *)PyDict_GetItemWithError(state->cores, loop);
}

static PyObject *
done_future(PyObject *loop)
{
    PyObject *future = PyObject_CallMethod(loop, "create_future", NULL);
    PyObject *result =
        future != NULL ? PyObject_CallMethod(future, "set_result", "O", Py_None) : NULL;
    if (result == NULL) {
        Py_CLEAR(future);
    }
    Py_XDECREF(result);
    return future;
}

static ArCore *
core_new(ar_state *state, PyObject *loop)
{
    PyObject *module = PyType_GetModule(state->CoreType);
    ArCore *core = module != NULL ? (ArCore *)state->CoreType->tp_alloc(state->CoreType, 0) : NULL;
    if (core == NULL) {
        return NULL;
    }
    core->module = Py_NewRef(module);
    core->state = state;
    core->loop = Py_NewRef(loop);
    core->generation = process_generation;
    core->thread = PyThread_get_thread_ident();
    core->waker[0] = core->waker[1] = -1;
    core->ev = ar_libev_new();
    if (core->ev == NULL) {
        PyErr_SetString(PyExc_OSError, "libev could not create an event loop "
                                       "(out of memory or file descriptors)");
        goto error;
    }
    if (start_waker(core) < 0) {
        goto error;
    }
    if (ar_busypoll_open(&core->busypoll, loop, state->busy_poll) < 0 ||
        (core->done = done_future(loop)) == NULL ||
        (core->call_soon = PyObject_GetAttrString(loop, "call_soon")) == NULL ||
        (core->call_later = PyObject_GetAttrString(loop, "call_later")) == NULL ||
        (core->drain_method = PyObject_GetAttrString((PyObject *)core, "drain")) == NULL ||
        (core->turn_method = PyObject_GetAttrString((PyObject *)core, "turn")) == NULL ||
        (core->timer_method = PyObject_GetAttrString((PyObject *)core, "timer")) == NULL) {
        goto error;
    }
    if (join_asyncio(core) < 0) {
        goto error;
    }
    return core;

error:
    (void)core_clear(core);
    Py_DECREF(core);
    return NULL;
}

/* Cores of loops that were closed under their clients, and of the parent process. */
static int
forget_dead_cores(ar_state *state)
{
    PyObject *loops = PyDict_Keys(state->cores);
    if (loops == NULL) {
        return -1;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(loops); i++) {
        PyObject *loop = PyList_GET_ITEM(loops, i);
        ArCore *core = ar_core_find(state, loop);
        Py_XINCREF(core); /* a loop that is asked runs Python code */
        int failed = core != NULL && !ar_core_alive(core) && ar_core_find(state, loop) == core &&
                     PyDict_DelItem(state->cores, loop) < 0;
        Py_XDECREF(core);
        if (failed) {
            Py_DECREF(loops);
            return -1;
        }
    }
    Py_DECREF(loops);
    return 0;
}

/* A new reference; NULL, without an exception: there is none. */
static ArCore *
usable_core(ar_state *state, PyObject *loop)
{
    ArCore *core = ar_core_find(state, loop);
    int usable = core != NULL && ar_core_same_process(core) && core->ev != NULL;
    return usable ? (ArCore *)Py_NewRef((PyObject *)core) : NULL;
}

ArCore *
ar_core_get(ar_state *state)
{
    PyObject *loop = PyObject_CallNoArgs(state->get_running_loop);
    if (loop == NULL) {
        return NULL;
    }
    ArCore *core = usable_core(state, loop);
    if (core != NULL || PyErr_Occurred() || forget_dead_cores(state) < 0) {
        goto done;
    }
    core = core_new(state, loop);
    if (core == NULL) {
        goto done;
    }
    ArCore *other = usable_core(state, loop);
    if (other != NULL) { /* made meanwhile by a finalizer that has sent something */
        ar_core_close(core);
        Py_SETREF(core, other);
    } else if (PyErr_Occurred() || PyDict_SetItem(state->cores, loop, (PyObject *)core) < 0) {
        ar_core_close(core);
        Py_CLEAR(core);
    }

done:
    Py_DECREF(loop);
    return core;
}

static PyType_Slot core_slots[] = {
    {Py_tp_doc, (void *)"libev inside one asyncio loop."},
    {Py_tp_dealloc, core_dealloc},
    {Py_tp_traverse, core_traverse},
    {Py_tp_clear, core_clear},
    {Py_tp_methods, ar_core_methods},
    {0, NULL},
};

static PyType_Spec core_spec = {
    .name = "aiecs_redis._native.Core",
    .basicsize = sizeof(ArCore),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = core_slots,
};

int
ar_core_setup(PyObject *module, ar_state *state)
{
    state->CoreType = (PyTypeObject *)PyType_FromModuleAndSpec(module, &core_spec, NULL);
    if (state->CoreType == NULL) {
        return -1;
    }
#if PY_VERSION_HEX < 0x030A0000
    state->CoreType->tp_new = NULL;
#endif
    state->cores = PyDict_New();
    return state->cores == NULL ? -1 : 0;
}
