// Adam (Kingma & Ba, arXiv 1412.6980), its vector-Jacobian product and its in-place form.
#pragma once

#include "checks.h"

#include <tuple>

namespace metaphys {

std::tuple<Tensors, Tensors, Tensors> adam(Tensors grads, Tensors mu, Tensors nu, Tensor count,
                                           double b1, double b2, double eps, double eps_root,
                                           double scale);

std::tuple<Tensors, Tensors, Tensors> adam_vjp(Tensors cot_updates, Tensors cot_mu, Tensors cot_nu,
                                               Tensors grads, Tensors mu, Tensors nu, Tensor count,
                                               double b1, double b2, double eps, double eps_root,
                                               double scale);

void adam_(Tensors params, Tensors grads, Tensors mu, Tensors nu, Tensor count, double b1,
           double b2, double eps, double eps_root, double scale, double weight_decay,
           bool decoupled, bool maximize);

}  // namespace metaphys
