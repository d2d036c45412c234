// Every native kernel of metaphys: the table of contents of this folder.
//
// Schemas are defined in Python (metaphys/ops), which also has an implementation of each; this
// library adds the CPU implementations. Loading it is all there is to do.
#include "adam.h"
#include "sgd.h"

#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY_IMPL(metaphys, CPU, m) {
  m.impl("adam", TORCH_BOX(&metaphys::adam));
  m.impl("adam_vjp", TORCH_BOX(&metaphys::adam_vjp));
  m.impl("adam_", TORCH_BOX(&metaphys::adam_));
  m.impl("sgd", TORCH_BOX(&metaphys::sgd));
  m.impl("sgd_vjp", TORCH_BOX(&metaphys::sgd_vjp));
  m.impl("sgd_", TORCH_BOX(&metaphys::sgd_));
}
