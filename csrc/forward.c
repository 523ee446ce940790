/* A class of redis-py's that has __slots__ cannot have a C base of ours: an object in a slot of the instance has the
 * native methods, and these descriptors lead to them. Seen through the class, the method is redis-py's. */
#include "forward.h"

#include <structmember.h>

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *function;          /* redis-py's */
    PyMemberDescrObject *slot;   /* of the instances' class: has the object */
    PyMethodDescrObject *method; /* of the object's class */
} ArForward;

/* ---- life ---- */

static PyObject *forward_call(PyObject *callable, PyObject *const *args, size_t nargsf,
                              PyObject *kwnames);

static PyObject *
forward_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"function", "slot", "method", NULL};
    PyObject *function, *slot, *method;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO!O!:Forward", keywords, &function,
                                     &PyMemberDescr_Type, &slot, &PyMethodDescr_Type, &method)) {
        return NULL;
    }
    if (((PyMemberDescrObject *)slot)->d_member->type != T_OBJECT_EX ||
        ((PyMethodDescrObject *)method)->d_method->ml_flags != (METH_FASTCALL | METH_KEYWORDS)) {
        return PyErr_Format(PyExc_TypeError, "cannot forward to %R of what is in %R", method, slot);
    }
    ArForward *self = (ArForward *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->vectorcall = forward_call;
    self->function = Py_NewRef(function);
    self->slot = (PyMemberDescrObject *)Py_NewRef(slot);
    self->method = (PyMethodDescrObject *)Py_NewRef(method);
    return (PyObject *)self;
}

static int
forward_traverse(ArForward *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->function);
    Py_VISIT(self->slot);
    Py_VISIT(self->method);
    return 0;
}

static int
forward_clear(ArForward *self)
{
    Py_CLEAR(self->function);
    Py_CLEAR(self->slot);
    Py_CLEAR(self->method);
    return 0;
}

static void
forward_dealloc(ArForward *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)forward_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

/* ---- use ---- */

/* What is in the instance's slot, a new reference; NULL with an exception set. */
static PyObject *
holder_of(const ArForward *self, PyObject *instance)
{
    PyTypeObject *class = PyDescr_TYPE(self->slot);
    PyObject *holder = NULL;
    if (!PyObject_TypeCheck(instance, class)) {
        PyErr_Format(PyExc_TypeError, "%U() is for a %s, not for a %s", PyDescr_NAME(self->method),
                     class->tp_name, Py_TYPE(instance)->tp_name);
        return NULL;
    }
    holder = *(PyObject **)((char *)instance + self->slot->d_member->offset);
    if (holder == NULL || !PyObject_TypeCheck(holder, PyDescr_TYPE(self->method))) {
        PyErr_Format(PyExc_AttributeError, "%U(): __init__() of this %s was not called",
                     PyDescr_NAME(self->method), Py_TYPE(instance)->tp_name);
        return NULL;
    }
    return Py_NewRef(holder);
}

static PyObject *
forward_get(ArForward *self, PyObject *instance, PyObject *Py_UNUSED(owner))
{
    if (instance == NULL || instance == Py_None) {
        return Py_NewRef(self->function);
    }
    PyObject *holder = holder_of(self, instance);
    if (holder == NULL) {
        return NULL;
    }
    PyObject *method =
        Py_TYPE(self->method)
            ->tp_descr_get((PyObject *)self->method, holder, (PyObject *)Py_TYPE(holder));
    Py_DECREF(holder);
    return method;
}

/* As a method descriptor is called: the instance is the first argument, and no bound method is made. */
static PyObject *
forward_call(PyObject *callable, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    const ArForward *self = (ArForward *)callable;
    Py_ssize_t nargs = PyVectorcall_NARGS(nargsf);
    if (nargs == 0) {
        return PyErr_Format(PyExc_TypeError, "%U() needs an instance", PyDescr_NAME(self->method));
    }
    PyObject *holder = holder_of(self, args[0]);
    if (holder == NULL) {
        return NULL;
    }
    PyCFunction function = self->method->d_method->ml_meth;
    PyObject *result = ((_PyCFunctionFastWithKeywords)(void (*)(void))function)(holder, args + 1,
                                                                                nargs - 1, kwnames);
    Py_DECREF(holder);
    return result;
}

/* Its own attributes, or those of the function: Python code that runs often gets from the class not what forward_get()
 * answers, but this object. */
static PyObject *
forward_getattro(ArForward *self, PyObject *name)
{
    if (PyUnicode_CompareWithASCIIString(name, "__doc__") == 0) { /* its type has one, too */
        return PyObject_GetAttr(self->function, name);
    }
    PyObject *value = PyObject_GenericGetAttr((PyObject *)self, name);
    if (value == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        value = PyObject_GetAttr(self->function, name);
    }
    return value;
}

/* ---- the type ---- */

static PyMemberDef forward_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(ArForward, vectorcall), READONLY, NULL},
    {NULL},
};

static PyType_Slot forward_slots[] = {
    {Py_tp_doc, (void *)"Forward(function, slot, method)\n--\n\n"
                        "A method of instances, which is `method` of what is in their `slot`; "
                        "`function` through\nthe class."},
    {Py_tp_new, forward_new},
    {Py_tp_dealloc, forward_dealloc},
    {Py_tp_traverse, forward_traverse},
    {Py_tp_clear, forward_clear},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_descr_get, forward_get},
    {Py_tp_getattro, forward_getattro},
    {Py_tp_members, forward_members},
    {0, NULL},
};

static PyType_Spec forward_spec = {
    .name = "aiecs_redis._native.Forward",
    .basicsize = sizeof(ArForward),
    /* The interpreter's shortcuts are for method descriptors of types that cannot change. */
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
             Py_TPFLAGS_METHOD_DESCRIPTOR | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = forward_slots,
};

int
ar_forward_setup(PyObject *module, ar_state *state)
{
    state->ForwardType = (PyTypeObject *)PyType_FromModuleAndSpec(module, &forward_spec, NULL);
    if (state->ForwardType == NULL) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "Forward", (PyObject *)state->ForwardType);
}
