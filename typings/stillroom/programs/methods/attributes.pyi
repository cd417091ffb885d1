from programs.methods.attributes import *
