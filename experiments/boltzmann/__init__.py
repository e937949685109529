"""What the experiments on Boltzmann machines of binary units share: rbm, dbn and dbm."""
