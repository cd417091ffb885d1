from programs.methods.evolve import *
