from programs.published.listed import *
