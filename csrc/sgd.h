// Stochastic gradient descent with momentum, its vector-Jacobian product and its in-place form.
#pragma once

#include "checks.h"

#include <tuple>

namespace metaphys {

std::tuple<Tensors, Tensors> sgd(Tensors grads, Tensors trace, Tensor count, double momentum,
                                 double dampening, bool nesterov, double scale);

std::tuple<Tensors, Tensors> sgd_vjp(Tensors cot_updates, Tensors cot_trace, Tensor count,
                                     double momentum, double dampening, bool nesterov,
                                     double scale);

void sgd_(Tensors params, Tensors grads, Tensors trace, Tensor count, double momentum,
          double dampening, bool nesterov, double scale, double weight_decay, bool maximize);

}  // namespace metaphys
