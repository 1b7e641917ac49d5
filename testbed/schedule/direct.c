/* The short way from Python into a compiled assignment; `direct.py` says why, builds this file and loads it. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#include <numpy/arrayobject.h>

#define DIMS(object) PyArray_DIMS((PyArrayObject *)(object))
#define DATA(object) PyArray_DATA((PyArrayObject *)(object))

/* Work that takes longer than letting other threads run and having the interpreter back. */
#define LONG_WORK 4096

/* `assign_at` of assign.py, which says what is what. */
typedef double (*Kernel)(const double *cost, npy_intp links, npy_intp subcarriers, const npy_int32 *column,
                         const double *price, npy_intp width, const npy_int64 *order, const double *weight,
                         npy_int64 *held, double *duals);

/* What `prepare` was given; set once, kept for good. */
static Kernel kernel;
static PyObject *owner, *record, *status, *nobody, *short_of;

static int
is_plain(PyObject *object, int type, int dimensions)
{
    return PyArray_CheckExact(object) && PyArray_TYPE((PyArrayObject *)object) == type
           && PyArray_NDIM((PyArrayObject *)object) == dimensions && PyArray_ISCARRAY_RO((PyArrayObject *)object);
}

/* Whether the lists are those of this very cost, by shape and by type. */
static int
are_lists_of(PyObject *lists, PyObject *cost)
{
    if (!PyTuple_Check(lists) || PyTuple_GET_SIZE(lists) != 4 || PyTuple_GET_ITEM(lists, 0) != cost)
        return 0;
    PyObject *column = PyTuple_GET_ITEM(lists, 1), *price = PyTuple_GET_ITEM(lists, 2);
    PyObject *order = PyTuple_GET_ITEM(lists, 3);
    if (!is_plain(column, NPY_INT32, 2) || !is_plain(price, NPY_DOUBLE, 2) || !is_plain(order, NPY_INT64, 1))
        return 0;
    npy_intp links = DIMS(cost)[0];
    return DIMS(order)[0] == links && DIMS(column)[0] == links && DIMS(price)[0] == links
           && DIMS(column)[1] == DIMS(price)[1];
}

static double
call_kernel(PyObject *cost, PyObject *weight, PyObject *lists, PyObject *held, PyObject *duals)
{
    const npy_int32 *column = NULL;
    const npy_int64 *order = NULL;
    const double *price = NULL;
    npy_intp links = DIMS(cost)[0], subcarriers = DIMS(cost)[1], width = -1;
    if (lists != Py_None) {
        column = DATA(PyTuple_GET_ITEM(lists, 1));
        price = DATA(PyTuple_GET_ITEM(lists, 2));
        order = DATA(PyTuple_GET_ITEM(lists, 3));
        width = DIMS(PyTuple_GET_ITEM(lists, 2))[1];
    }
    double total;
    PyThreadState *thread = links * subcarriers > LONG_WORK ? PyEval_SaveThread() : NULL;
    total = kernel(DATA(cost), links, subcarriers, column, price, width, order, DATA(weight), DATA(held), DATA(duals));
    if (thread != NULL)
        PyEval_RestoreThread(thread);
    return total;
}

/* An Assignment; a named tuple is a tuple with another type. */
static PyObject *
make_record(PyObject *held, double total, PyObject *duals)
{
    PyObject *price = PyFloat_FromDouble(total);
    PyObject *made = price == NULL ? NULL : ((PyTypeObject *)record)->tp_alloc((PyTypeObject *)record, 5);
    if (made == NULL) {
        Py_XDECREF(price);
        return NULL;
    }
    PyTuple_SET_ITEM(made, 0, Py_NewRef(held));
    PyTuple_SET_ITEM(made, 1, price);
    PyTuple_SET_ITEM(made, 2, Py_NewRef(duals));
    PyTuple_SET_ITEM(made, 3, Py_NewRef(nobody));
    PyTuple_SET_ITEM(made, 4, Py_NewRef(status));
    return made;
}

static PyObject *
answer(PyObject *cost, PyObject *weight, PyObject *lists, PyObject *held, PyObject *duals)
{
    double total = call_kernel(cost, weight, lists, held, duals);
    if (total > -INFINITY)
        return make_record(held, total, duals);
    if (total == -INFINITY)
        return PyObject_CallFunctionObjArgs(short_of, cost, weight, held, duals, NULL);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(assign_doc, "assign(cost, weight, lists): the Assignment, or None if something is not plain.");

static PyObject *
assign(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t count)
{
    if (count != 3) {
        PyErr_SetString(PyExc_TypeError, "assign takes cost, weight and lists");
        return NULL;
    }
    PyObject *cost = arguments[0], *weight = arguments[1], *lists = arguments[2];
    if (kernel == NULL || !is_plain(cost, NPY_DOUBLE, 2) || !is_plain(weight, NPY_DOUBLE, 1)
        || DIMS(weight)[0] != DIMS(cost)[0] || (lists != Py_None && !are_lists_of(lists, cost)))
        Py_RETURN_NONE;
    PyObject *held = PyArray_SimpleNew(1, DIMS(cost), NPY_INT64);
    PyObject *duals = PyArray_SimpleNew(1, DIMS(cost) + 1, NPY_DOUBLE);
    PyObject *found = held == NULL || duals == NULL ? NULL : answer(cost, weight, lists, held, duals);
    Py_XDECREF(held);
    Py_XDECREF(duals);
    return found;
}

PyDoc_STRVAR(prepare_doc,
             "prepare(address, owner, record, status, short_of): what to call and what to answer with.\n\n"
             "address of the kernel, which lives as long as its owner; record, the type of answers; the status of a\n"
             "good one; short_of(cost, weight, held, duals) makes the answer where some link is not served.");

static PyObject *
prepare(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    unsigned long long address;
    PyObject *kept, *type, *good, *function;
    if (!PyArg_ParseTuple(arguments, "KOO!OO", &address, &kept, &PyType_Type, &type, &good, &function))
        return NULL;
    if (!PyType_IsSubtype((PyTypeObject *)type, &PyTuple_Type)) {
        PyErr_SetString(PyExc_TypeError, "record must be a named tuple");
        return NULL;
    }
    if (kernel == NULL) {
        nobody = PyTuple_New(0);
        owner = Py_NewRef(kept), record = Py_NewRef(type), status = Py_NewRef(good), short_of = Py_NewRef(function);
        kernel = (Kernel)(uintptr_t)address;
    }
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"assign", (PyCFunction)(void (*)(void))assign, METH_FASTCALL, assign_doc},
    {"prepare", prepare, METH_VARARGS, prepare_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "direct", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC
PyInit_direct(void)
{
    import_array();
    return PyModule_Create(&definition);
}
