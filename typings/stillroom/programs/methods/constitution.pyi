from programs.methods.constitution import *
