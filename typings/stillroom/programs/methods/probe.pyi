from programs.methods.probe import *
