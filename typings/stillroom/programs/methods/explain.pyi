from programs.methods.explain import *
