from programs.published import *
