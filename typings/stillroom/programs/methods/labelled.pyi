from programs.methods.labelled import *
